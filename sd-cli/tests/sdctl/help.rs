//! Help, completions and manual pages.

use crate::support::{run, sdctl};

#[tokio::test]
async fn there_are_completions_and_a_page_for_each_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(sdctl(&["completions", shell])).await.succeeded();
        assert!(ended.out.contains("undrain"), "{shell}");
    }
    let page = run(sdctl(&["man"])).await.succeeded();
    assert!(page.out.contains(".TH sdctl 1"), "{}", &page.out[..200]);
    let dir = tempfile::tempdir().unwrap();
    run(sdctl(&["man", "--dir", dir.path().to_str().unwrap()]))
        .await
        .succeeded();
    for page in ["sdctl.1", "sdctl-list.1", "sdctl-drain.1"] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
}

#[tokio::test]
async fn a_pipe_that_is_closed_is_no_failure() {
    let mut command = tokio::process::Command::new("sh");
    let script = format!(
        "{} man | head -n 1; echo ${{PIPESTATUS:-}}",
        crate::support::SDCTL
    );
    command.args(["-c", &script]);
    let ended = run(command).await.succeeded();
    assert!(!ended.err.contains("error"), "{ended:?}");
}
