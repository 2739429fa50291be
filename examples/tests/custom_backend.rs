//! The output of `custom_backend`.

mod shown;

use shown::shown;

#[test]
fn entries_come_and_go_with_their_processes() {
    let output = shown(env!("CARGO_BIN_EXE_custom_backend"), &[]);

    for line in [
        r#"consumer sees ["127.0.0.1:4001", "127.0.0.1:4002"]"#,
        r#"the lease has run out    consumer sees ["127.0.0.1:4002"]"#,
        r#"there is one more        consumer sees ["127.0.0.1:4002", "127.0.0.1:4003"]"#,
        r#"it is gone at once       consumer sees ["127.0.0.1:4003"]"#,
    ] {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }
}
