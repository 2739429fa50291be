//! What a program prints.

use std::process::Command;

/// The output of a program that must succeed.
pub(crate) fn shown(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.expect("the program can be run");
    let (out, err) = (output.stdout, output.stderr);
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    assert!(output.status.success(), "it failed:\n{out}\n{err}");
    out.into_owned()
}
