//! The output of `testing`. Its own tests are inside.

mod shown;

use shown::shown;

#[test]
fn the_greeter_greets() {
    let output = shown(env!("CARGO_BIN_EXE_testing"), &[]);

    #[cfg(feature = "grpc")]
    assert!(output.contains("Hello, Barbara!\n"), "{output}");
    // Round robin begins at a random endpoint.
    for expected in ["bonjour, ", "guten Tag, ", " Ada!", " Grace!"] {
        assert!(output.contains(expected), "no {expected:?} in\n{output}");
    }
}
