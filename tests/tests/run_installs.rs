//! `./run` changes the system only where somebody has said so, and says what it leaves out.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder of programs: those that the script needs, a cargo that does nothing, and a package manager that
/// "installs" what the script looks for.
fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in [
        "basename", "cat", "chmod", "dirname", "env", "head", "ls", "mkdir", "sh",
    ] {
        let paths = env::var_os("PATH").unwrap();
        let mut found = env::split_paths(&paths).map(|path| path.join(program));
        let found = found.find(|path| path.exists()).expect(program);
        symlink(found, folder.path().join(program)).unwrap();
    }
    let packages = [("etcd-server", "etcd"), ("protobuf-compiler", "protoc")];
    let packages = packages.map(|(package, program)| {
        let path = folder.path().join(program);
        let path = path.display();
        format!("*\" {package}\"*) echo '#!/bin/sh' >{path}; chmod +x {path} ;;\n")
    });
    let log = folder.path().join("log");
    let apt = format!(
        "echo \"$*\" >>{}\ncase \"$*\" in\n{}esac",
        log.display(),
        packages.concat()
    );
    for (program, text) in [("apt-get", &*apt), ("cargo", ""), ("id", "echo 0")] {
        let path = folder.path().join(program);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// Runs a test there without a terminal. Returns whether it succeeded, what it said, and what the package
/// manager was asked for.
fn run(machine: &Path, variables: &[(&str, &str)]) -> (bool, String, String) {
    run_job(machine, &["test", "-p", "sd-core"], variables)
}

fn run_job(machine: &Path, job: &[&str], variables: &[(&str, &str)]) -> (bool, String, String) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../run");
    let output = Command::new(script)
        .args(job)
        .env_clear()
        .env("PATH", machine)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let asked = fs::read_to_string(machine.join("log")).unwrap_or_default();
    (output.status.success(), said, asked)
}

/// Whether the programs are where the script looks too, whatever the `PATH`.
fn has_programs() -> bool {
    ["/usr/sbin/etcd", "/usr/sbin/protoc"]
        .iter()
        .any(|program| Path::new(program).exists())
}

#[test]
fn nothing_is_installed_where_nobody_can_be_asked() {
    if has_programs() {
        return;
    }
    for variables in [
        &[][..],
        &[("CI", "false")],
        &[("CI", "true"), ("SD_INSTALL", "0")],
    ] {
        let machine = machine();
        let (is_fine, said, asked) = run(machine.path(), variables);
        assert!(!is_fine && asked.is_empty(), "{variables:?}: {said}{asked}");
        assert!(said.contains("SD_INSTALL"), "{said}");
        assert!(said.contains("Do it by hand"), "{said}");
    }
}

#[test]
fn what_is_missing_is_installed_in_ci_and_where_it_is_said() {
    if has_programs() {
        return;
    }
    for variables in [("CI", "true"), ("SD_INSTALL", "1")] {
        let machine = machine();
        let (is_fine, said, asked) = run(machine.path(), &[variables]);
        assert!(is_fine, "{variables:?}: {said}");
        for package in ["etcd-server", "protobuf-compiler libprotobuf-dev"] {
            assert!(asked.contains(package), "{asked}");
            assert!(said.contains(package), "it says what it runs: {said}");
        }
    }
}

/// What cannot be tried is no failure, unless it is required. Nothing is installed for it.
#[test]
fn without_the_modules_of_go_the_programs_in_go_are_skipped() {
    let machine = machine();
    let go = machine.path().join("go");
    let no_modules = "#!/bin/sh\necho 'no such module' >&2\nexit 1\n";
    fs::write(&go, no_modules).unwrap();
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
    for (job, expected) in [
        (&["interop"][..], true),
        (&["interop", "--required"], false),
    ] {
        let (succeeded, said, asked) = run_job(machine.path(), job, &[("SD_INSTALL", "0")]);
        assert_eq!(succeeded, expected, "{said}");
        assert!(said.contains("no such module"), "{said}");
        assert!(said.contains("run: skipped: "), "{said}");
        assert_eq!(asked, "");
    }
}
