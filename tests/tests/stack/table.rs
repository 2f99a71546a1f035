//! The table: each row names a call, or several that belong together, and says whether they are allowed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::account::{Account, Stack};
use super::policy::{Call, allows};
use super::{bake_calls, coordinator_calls};

/// Whose policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    Coordinator,
    /// The same where on-demand instances are allowed.
    CoordinatorOnDemand,
    Bake,
    /// Who may assume the role for `bake`: where only operators do, and where CI does as well.
    BakeTrust,
    BakeTrustWithCi,
    WorkerTrust,
}

pub struct Row {
    pub of: Of,
    pub name: String,
    /// Allowed if each is.
    pub calls: Vec<Call>,
    pub is_allowed: bool,
}

pub type Policies = BTreeMap<Of, Value>;

/// Allowed.
pub fn yes(of: Of, name: &str, calls: impl IntoIterator<Item = Call>) -> Row {
    Row { of, name: name.to_owned(), calls: calls.into_iter().collect(), is_allowed: true }
}

/// Denied.
pub fn no(of: Of, name: &str, calls: impl IntoIterator<Item = Call>) -> Row {
    Row { is_allowed: false, ..yes(of, name, calls) }
}

impl Row {
    /// What this policy says to it.
    pub fn decided(&self, policy: &Value) -> bool {
        assert!(!self.calls.is_empty(), "{}: no call", self.name);
        self.calls.iter().all(|call| allows(policy, call))
    }
}

/// Two stacks in one account: as an operator gets it who says only what must be said, and with everything else said.
pub async fn stacks(account: &Account) -> (Stack, Stack) {
    let plain = account.deploy("CreateStack", "spillway", &[]).await;
    let more = [
        ("PrimaryRole", "app-server"),
        ("OnDemand", "yes"),
        ("KeyPair", "operators"),
        ("BakeFrom", bake_calls::CI_SUBJECT),
    ];
    let role = [("RoleName", "app-server"), ("AssumeRolePolicyDocument", "{}")];
    account.moto.ask(spillway_tests::moto::IAM, "CreateRole", &role).await;
    (plain, account.deploy("CreateStack", "other", &more).await)
}

pub async fn policies(account: &Account, plain: &Stack, full: &Stack) -> Policies {
    BTreeMap::from([
        (Of::Coordinator, account.coordinator_policy(plain).await),
        (Of::CoordinatorOnDemand, account.coordinator_policy(full).await),
        (Of::Bake, account.bake_policy(plain).await),
        (Of::BakeTrust, account.trust(plain, "bake").await),
        (Of::BakeTrustWithCi, account.trust(full, "bake").await),
        (Of::WorkerTrust, account.trust(plain, "worker").await),
    ])
}

pub fn rows(account: &Account, plain: &Stack, full: &Stack) -> Vec<Row> {
    let mut rows = coordinator_calls::rows(account, plain, full);
    rows.extend(bake_calls::rows(account, plain));
    rows.extend(bake_calls::trust_rows());
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_allowed_or_denied_as_the_table_says() {
    let account = Account::open().await;
    let (plain, full) = stacks(&account).await;
    let policies = policies(&account, &plain, &full).await;
    let rows = rows(&account, &plain, &full);
    let names: BTreeSet<(Of, &str)> = rows.iter().map(|row| (row.of, &*row.name)).collect();
    assert_eq!(names.len(), rows.len(), "two rows have one name");
    let allowed = rows.iter().filter(|row| row.is_allowed).count();
    println!("{} rows: {allowed} allowed, {} denied", rows.len(), rows.len() - allowed);
    assert!(allowed >= 20 && rows.len() - allowed >= 40);
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| row.decided(&policies[&row.of]) != row.is_allowed)
        .map(|row| {
            let denied = row.calls.iter().find(|call| !allows(&policies[&row.of], call));
            format!(
                "{:?}: {}: {}",
                row.of,
                row.name,
                denied.map_or("allowed".to_owned(), |it| format!("denied: {it:?}"))
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
