//! Times of the pieces that run for each change or each call: `cargo bench -p sd-benches`.

use sd_benches::{PIECES, Piece};

fn main() {
    divan::main();
}

#[divan::bench(args = PIECES)]
fn micro(bencher: divan::Bencher<'_, '_>, piece: Piece) {
    let mut work = piece.prepare();
    bencher.bench_local(|| work(1));
}
