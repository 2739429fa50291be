//! What an [`Editor`](sd_core::Editor) changes for those who do not hold an entry, and what it must not.

use crate::{
    check::{Check, check},
    context::Context,
    error::{CheckError, CheckResult, ensure},
};
use bytes::Bytes;
use sd_core::{Editor, Error, FencedEntry, Key, Lost};

pub(super) const CHECKS: &[Check] = &[
    check!(
        an_editor_reads_what_stands,
        "get_entry gives the entry as it is now, or none where there is none."
    ),
    check!(
        an_edit_leaves_an_entry_on_its_lease,
        "An edited entry has the lease that it had, ends with it, and has none if it had none."
    ),
    check!(
        an_edit_is_told_to_the_owner,
        "The owner's handle reports it as Overwritten, and reclaims the entry with the edited value."
    ),
    check!(
        an_edit_of_what_was_changed_since_changes_nothing,
        "replace_entry is false after any change, one to the same value too."
    ),
    check!(
        an_edit_brings_nothing_back,
        "replace_entry of a deleted entry is false, and leaves the key absent."
    ),
    check!(
        a_deletion_is_fenced_as_an_edit_is,
        "delete_entry removes what was read, and is false after any change."
    ),
    check!(
        an_edit_that_the_registry_would_refuse_is_invalid,
        "replace_entry with a value that is too large is Invalid and leaves the entry."
    ),
];

async fn an_editor_reads_what_stands(ctx: &Context<'_>) -> CheckResult {
    let (editor, key) = (ctx.editor().await?, ctx.key("foo/a")?);
    let before = ctx.within("get_entry", editor.get_entry(&key)).await??;
    ensure!(before.is_none(), "it reads {before:?} under an absent key");
    for value in ["one", "two"] {
        ctx.put(&key, value).await?;
        let read = ctx.read_to_edit(&*editor, &key).await?.entry;
        ensure!(
            read.key == key && read.value == value,
            "it reads {read:?} where {value} stands"
        );
    }
    ctx.delete(&key).await?;
    let after = ctx.within("get_entry", editor.get_entry(&key)).await??;
    ensure!(after.is_none(), "it reads {after:?} under a deleted key");
    Ok(())
}

async fn an_edit_leaves_an_entry_on_its_lease(ctx: &Context<'_>) -> CheckResult {
    let (editor, owner) = (ctx.editor().await?, ctx.client().await?);
    let service = ctx.service("foo/a", "a")?;
    let registration = ctx.register(&owner, &service).await?;
    let key = registration.key().clone();

    let read = ctx.read_to_edit(&*editor, &key).await?;
    ctx.replace(&*editor, &read, "edited").await?;
    ctx.ensure_value(&key, "edited").await?;
    let after = ctx.read_to_edit(&*editor, &key).await?.entry;
    ensure!(
        after.lease == read.entry.lease,
        "the lease was {:?} and is {:?}",
        read.entry.lease,
        after.lease
    );
    ctx.deregister(&owner, &service).await?;
    ctx.until_absent(&key).await?;

    let key = ctx.key("foo/b")?;
    ctx.put(&key, "b").await?;
    let read = ctx.read_to_edit(&*editor, &key).await?;
    ctx.replace(&*editor, &read, "edited").await?;
    let lease = ctx.read_to_edit(&*editor, &key).await?.entry.lease;
    ensure!(lease.is_none(), "an entry without a lease has {lease:?}");
    Ok(())
}

async fn an_edit_is_told_to_the_owner(ctx: &Context<'_>) -> CheckResult {
    let (editor, owner) = (ctx.editor().await?, ctx.client().await?);
    let service = ctx.service("foo/a", "a")?;
    let mut registration = ctx.register(&owner, &service).await?;
    let key = registration.key().clone();

    let read = ctx.read_to_edit(&*editor, &key).await?;
    ctx.replace(&*editor, &read, "edited").await?;

    let lost = ctx.lost(&mut registration).await?;
    ensure!(
        matches!(&lost, Lost::Overwritten { value, .. } if value == "edited"),
        "the owner is told {lost:?}"
    );
    let _kept = ctx.reclaim_held(&registration, "edited").await?;
    ctx.ensure_value(&key, "edited").await
}

async fn an_edit_of_what_was_changed_since_changes_nothing(ctx: &Context<'_>) -> CheckResult {
    let (editor, key) = (ctx.editor().await?, ctx.key("foo/a")?);
    for change in ["another", "the same", "deleted and the same"] {
        ctx.put(&key, "read").await?;
        let read = ctx.read_to_edit(&*editor, &key).await?;
        if change.starts_with("deleted") {
            ctx.delete(&key).await?;
        }
        let since = if change == "another" { change } else { "read" };
        ctx.put(&key, since).await?;

        let replaced = ctx.try_replace(&*editor, &read, "edited").await?;

        ctx.ensure_value(&key, since).await?;
        ensure!(!replaced, "it says that it replaced what was {change}");
    }
    // Of two editors that have read the same, one changes it.
    let other = ctx.editor().await?;
    let read = ctx.read_to_edit(&*editor, &key).await?;
    let second = ctx.read_to_edit(&*other, &key).await?;
    ctx.replace(&*editor, &read, "first").await?;
    let replaced = ctx.try_replace(&*other, &second, "second").await?;
    ctx.ensure_value(&key, "first").await?;
    ensure!(!replaced, "the second editor is told that it replaced it");
    Ok(())
}

async fn an_edit_brings_nothing_back(ctx: &Context<'_>) -> CheckResult {
    let (editor, key) = (ctx.editor().await?, ctx.key("foo/a")?);
    ctx.put(&key, "read").await?;
    let read = ctx.read_to_edit(&*editor, &key).await?;
    ctx.delete(&key).await?;

    let replaced = ctx.try_replace(&*editor, &read, "edited").await?;

    ctx.ensure_absent(&key).await?;
    ensure!(!replaced, "it says that it replaced what was deleted");
    Ok(())
}

async fn a_deletion_is_fenced_as_an_edit_is(ctx: &Context<'_>) -> CheckResult {
    let (editor, key) = (ctx.editor().await?, ctx.key("foo/a")?);
    ctx.put(&key, "read").await?;
    let stale = ctx.read_to_edit(&*editor, &key).await?;
    ctx.put(&key, "read").await?;

    let deleted = ctx.within("delete_entry", editor.delete_entry(&stale));
    ensure!(
        !deleted.await??,
        "it says that it deleted what was put since"
    );
    ctx.ensure_value(&key, "read").await?;

    let read = ctx.read_to_edit(&*editor, &key).await?;
    let deleted = ctx.within("delete_entry", editor.delete_entry(&read));
    ensure!(deleted.await??, "it says that what it read was changed");
    ctx.ensure_absent(&key).await?;
    let again = ctx.within("delete_entry", editor.delete_entry(&read));
    ensure!(!again.await??, "it says that it deleted it twice");
    Ok(())
}

async fn an_edit_that_the_registry_would_refuse_is_invalid(ctx: &Context<'_>) -> CheckResult {
    let (editor, key) = (ctx.editor().await?, ctx.key("foo/a")?);
    let Some(len) = ctx.harness().too_large_value_len() else {
        let why = "the registry has no limit on the size of a value";
        return Err(CheckError::NotRun(why.to_owned()));
    };
    ctx.put(&key, "read").await?;
    let read = ctx.read_to_edit(&*editor, &key).await?;
    let large = Bytes::from(vec![b'x'; len]);

    let replaced = ctx.within("replace_entry", editor.replace_entry(&read, large));
    let replaced = replaced.await?;

    ensure!(
        matches!(replaced, Err(Error::Invalid(_))),
        "it answers {replaced:?}"
    );
    ctx.ensure_value(&key, "read").await
}

impl Context<'_> {
    /// The entry under `key`, which must be there.
    async fn read_to_edit(&self, editor: &dyn Editor, key: &Key) -> CheckResult<FencedEntry> {
        let read = self.within("get_entry", editor.get_entry(key)).await??;
        read.ok_or_else(|| CheckError::Failed(format!("it reads nothing under {key}")))
    }

    /// Whether the editor says that it replaced what was `read`.
    async fn try_replace(
        &self,
        editor: &dyn Editor,
        read: &FencedEntry,
        value: &'static str,
    ) -> CheckResult<bool> {
        let replace = editor.replace_entry(read, value.into());
        Ok(self.within("replace_entry", replace).await??)
    }

    /// Replaces what was `read`, which must succeed.
    async fn replace(
        &self,
        editor: &dyn Editor,
        read: &FencedEntry,
        value: &'static str,
    ) -> CheckResult {
        let replaced = self.try_replace(editor, read, value).await?;
        ensure!(replaced, "it says that what it read was changed");
        Ok(())
    }
}
