//! What decodes the entries of other frameworks, as a function of bytes: see the module of this name in
//! `sd-core`. It is no part of the public API.

use sd_core::{Advert, Entry, Key, LeaseId};

/// The first byte of `input` chooses a format. The rest is the value of an entry, or of its key where that has all there
/// is.
pub fn formats(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    let formats = crate::all();
    let format = &formats[usize::from(*choice) % formats.len()];
    let codec = format.codec("svc").expect("a name");
    let advert = Advert::new("10.0.0.1:80");
    let service = format.service("svc", &advert).expect("an address");
    let key = service.key.under(&LeaseId::from(7));
    sd_core::fuzzing::codec(&*codec, &Entry::new(key, rest.to_vec()));

    let prefix = format.prefix("svc").expect("a name");
    if let Ok(rest) = std::str::from_utf8(rest)
        && let Ok(key) = Key::new(format!("{prefix}{rest}"))
    {
        sd_core::fuzzing::codec(&*codec, &Entry::new(key, service.value));
    }
}
