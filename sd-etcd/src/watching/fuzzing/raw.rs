//! Arbitrary messages of etcd's.

use arbitrary::{Result, Unstructured};
use etcd_client::proto::PbResponseHeader;

/// So many bytes at most, often none.
pub(super) fn bytes(input: &mut Unstructured<'_>, most: usize) -> Result<Vec<u8>> {
    let length = input.int_in_range(0..=most)?.min(input.len());
    Ok(input.bytes(length)?.to_vec())
}

/// A small number, or any.
pub(super) fn number(input: &mut Unstructured<'_>) -> Result<i64> {
    match input.arbitrary::<u8>()? {
        u8::MAX => input.arbitrary(),
        small => Ok(i64::from(small % 32) - 1),
    }
}

/// A header of one of two clusters; seldom none.
pub(super) fn header(input: &mut Unstructured<'_>) -> Result<Option<PbResponseHeader>> {
    let kind = input.arbitrary::<u8>()? % 16;
    let header = PbResponseHeader {
        cluster_id: u64::from(kind == 1),
        revision: number(input)?,
        ..PbResponseHeader::default()
    };
    Ok((kind != 0).then_some(header))
}
