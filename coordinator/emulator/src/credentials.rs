//! What an instance has by its instance profile: the address that its connections come from, and credentials that this
//! emulator's STS knows. Owns how they are made; who they belong to is told by the instance that has them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Temporary credentials of one instance.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
}

impl Credentials {
    /// New ones, as long as EC2's.
    pub(crate) fn random() -> Self {
        let hex = || uuid::Uuid::new_v4().simple().to_string();
        let bytes: Vec<u8> = (0..18).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
        let id: String = hex().to_ascii_uppercase().chars().take(16).collect();
        Self {
            access_key_id: format!("ASIA{id}"),
            secret_access_key: format!("{}{}", hex(), hex()).chars().take(40).collect(),
            session_token: format!("IQoJ{}", BASE64.encode(bytes)),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.access_key_id).finish()
    }
}

/// The private address of the instance with this number: one of loopback, so that a process of this host can connect
/// from it, and never 127.0.0.1, which is everybody's.
pub(crate) fn loopback_address(seq: u64) -> String {
    let (high, middle, low) = (64 + seq / 62_500 % 64, seq / 250 % 250, seq % 250 + 4);
    format!("127.{high}.{middle}.{low}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn each_instance_has_an_address_of_its_own_that_a_process_can_bind() {
        let addresses: BTreeSet<String> = (0..200_000).map(loopback_address).collect();
        assert_eq!(addresses.len(), 200_000);
        for seq in [0, 1, 249, 250, 62_499, 62_500, u64::MAX] {
            let address = loopback_address(seq);
            assert!(UdpSocket::bind((address.as_str(), 0)).is_ok(), "{address}");
        }
    }

    #[test]
    fn credentials_are_never_the_same_and_debug_does_not_show_the_secret() {
        let (one, other) = (Credentials::random(), Credentials::random());
        assert_ne!(one, other);
        let shown = format!("{one:?}");
        assert!(!shown.contains(&one.secret_access_key) && !shown.contains(&one.session_token), "{shown}");
        assert_eq!((one.access_key_id.len(), one.secret_access_key.len()), (20, 40));
    }
}
