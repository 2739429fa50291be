//! Users, passwords and rights at an etcd.

use super::server::Etcd;
use etcd_client::{Error, Permission, PermissionType, RoleRevokePermissionOptions};

const ROOT: (&str, &str) = ("root", "the test's own");

/// Passwords. Start the etcd with [`Setup::token_ttl`](crate::Setup::token_ttl), so that its tokens
/// expire while a test can wait for it.
///
/// ```no_run
/// # use sd_tests::Etcd;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let etcd = Etcd::setup().token_ttl(1).start().await;
/// etcd.enable_auth().await;
/// etcd.add_user("discovery", "secret", "/services/").await;
/// // ... a client with that name and password ...
/// etcd.withdraw("discovery", "/services/").await; // and it may do nothing any more
/// # }
/// ```
impl Etcd {
    /// Enables authentication: etcd serves only the users of [`add_user`](Self::add_user). The test
    /// itself becomes `root`.
    pub async fn enable_auth(&self) {
        self.create_user(ROOT.0, ROOT.1).await;
        self.give_role(ROOT.0, "root").await;
        self.ask("AuthEnable", |client| async move {
            client.auth_client().auth_enable().await
        })
        .await;
        self.identify(Some(ROOT)).await;
    }

    /// Disables authentication: etcd serves everybody. Users and rights are kept.
    pub async fn disable_auth(&self) {
        self.ask("AuthDisable", |client| async move {
            client.auth_client().auth_disable().await
        })
        .await;
        self.identify(None).await;
    }

    /// Adds a user who may read and write keys that begin with `prefix`, and no others.
    pub async fn add_user(&self, name: &str, password: &str, prefix: &str) {
        self.add_user_with(name, password, prefix, PermissionType::Readwrite)
            .await;
    }

    /// Adds a user who may read keys that begin with `prefix`, and nothing else.
    pub async fn add_reader(&self, name: &str, password: &str, prefix: &str) {
        self.add_user_with(name, password, prefix, PermissionType::Read)
            .await;
    }

    async fn add_user_with(&self, name: &str, password: &str, prefix: &str, may: PermissionType) {
        self.create_user(name, password).await;
        self.ask("RoleAdd", |client| async move {
            client.auth_client().role_add(name).await
        })
        .await;
        self.allow(name, prefix, may).await;
        self.give_role(name, name).await;
    }

    /// Lets a user also read and write keys that begin with `prefix`.
    pub async fn grant(&self, name: &str, prefix: &str) {
        self.allow(name, prefix, PermissionType::Readwrite).await;
    }

    async fn allow(&self, name: &str, prefix: &str, may: PermissionType) {
        let permission = Permission::new(may, prefix).with_prefix();
        self.ask("RoleGrantPermission", |client| async move {
            let mut auth = client.auth_client();
            auth.role_grant_permission(name, permission).await
        })
        .await;
    }

    /// Withdraws the rights of [`grant`](Self::grant) or [`add_user`](Self::add_user).
    pub async fn withdraw(&self, name: &str, prefix: &str) {
        let options = RoleRevokePermissionOptions::new().with_prefix();
        self.ask("RoleRevokePermission", |client| async move {
            let mut auth = client.auth_client();
            auth.role_revoke_permission(name, prefix, Some(options))
                .await
        })
        .await;
    }

    /// Changes a user's password, which invalidates its tokens.
    pub async fn change_password(&self, name: &str, password: &str) {
        self.ask("UserChangePassword", |client| async move {
            let mut auth = client.auth_client();
            auth.user_change_password(name, password).await
        })
        .await;
    }

    /// Adds a user, unless it is there already.
    async fn create_user(&self, name: &str, password: &str) {
        let added = self.try_ask("UserAdd", |client| async move {
            client.auth_client().user_add(name, password, None).await
        });
        if let Err(error) = added.await
            && !already_exists(&error)
        {
            panic!("{self} takes no user {name}: {error}");
        }
    }

    async fn give_role(&self, name: &str, role: &str) {
        // It is there already on those who come with it.
        if role == ROOT.0 {
            let added = self.try_ask("RoleAdd", |client| async move {
                client.auth_client().role_add(role).await
            });
            if let Err(error) = added.await
                && !already_exists(&error)
            {
                panic!("{self} has no role for root: {error}");
            }
        }
        self.ask("UserGrantRole", |client| async move {
            client.auth_client().user_grant_role(name, role).await
        })
        .await;
    }
}

fn already_exists(error: &Error) -> bool {
    error.to_string().contains("already exists")
}
