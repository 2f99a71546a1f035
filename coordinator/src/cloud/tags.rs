//! What an instance's tags say: whose it is, and of which pool.

use aws_sdk_ec2::types::{Instance, Tag};
use spillway_brain::LaunchToken;

use super::{INSTALLATION_TAG, MANAGED_BY, POOL_TAG, TOKEN_TAG};

/// An instance's tags.
pub(super) struct Tags<'a>(&'a [Tag]);

impl<'a> Tags<'a> {
    pub(super) fn of(instance: &'a Instance) -> Self {
        Tags(instance.tags())
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|tag| tag.key() == Some(key))?.value()
    }

    /// By the pool's tag; or by its Name if it has no pool tag, because it may have been launched by hand and is
    /// billed.
    pub(super) fn name_pool(&self, pool: &str) -> bool {
        self.get(POOL_TAG).or_else(|| self.get("Name")) == Some(pool)
    }

    /// A launch token counts only together with the pool's tag: both are set in the same call.
    pub(super) fn token(&self) -> Option<LaunchToken> {
        self.get(POOL_TAG)?;
        self.get(TOKEN_TAG).map(|token| LaunchToken(token.to_owned()))
    }

    pub(super) fn installation(&self) -> Option<&'a str> {
        self.get(INSTALLATION_TAG)
    }

    /// The pool of an instance that this installation launched.
    pub(super) fn our_pool(&self, installation: &str) -> Option<&'a str> {
        self.get(POOL_TAG).filter(|_| self.token().is_some() && self.installation() == Some(installation))
    }

    /// Which tags of an instance of ours are not what its launch set. A missing `spillway:installation` says nothing:
    /// versions before that tag did not set it.
    pub(super) fn changed(&self, pool: &str, installation: &str) -> Option<String> {
        let expected =
            [(MANAGED_BY.0, MANAGED_BY.1), (POOL_TAG, pool), (INSTALLATION_TAG, installation), (TOKEN_TAG, "")];
        let changed = expected.into_iter().filter_map(|(key, expected)| match self.get(key) {
            None if key == INSTALLATION_TAG => None,
            None => Some(format!("{key} is missing")),
            Some(value) if value == expected || key == TOKEN_TAG => None,
            Some(value) => Some(format!("{key} is \"{value}\" instead of \"{expected}\"")),
        });
        let changed: Vec<String> = changed.collect();
        (!changed.is_empty()).then(|| changed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(tags: &[(&str, &str)]) -> Instance {
        let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
        Instance::builder().set_tags(Some(tags.iter().map(tag).collect())).build()
    }

    const LAUNCHED: [(&str, &str); 5] =
        [("Name", "p"), MANAGED_BY, (POOL_TAG, "p"), (TOKEN_TAG, "t-1"), (INSTALLATION_TAG, "one")];

    #[test]
    fn tags_that_somebody_changed_are_named_and_a_version_without_the_tag_changed_nothing() {
        let changed = |tags: &[(&str, &str)]| Tags::of(&instance(tags)).changed("p", "one");
        assert_eq!(changed(&LAUNCHED), None);
        assert_eq!(changed(&LAUNCHED[..4]), None, "launched before the tag existed");
        assert_eq!(changed(&[("Name", "renamed"), LAUNCHED[1], LAUNCHED[2], LAUNCHED[3]]), None, "a name is anybody's");
        let others = [("ManagedBy", "me"), (POOL_TAG, "q"), (INSTALLATION_TAG, "two")];
        assert_eq!(
            changed(&others).as_deref(),
            Some(
                "ManagedBy is \"me\" instead of \"auto-scaler\", spillway:pool is \"q\" instead of \"p\", \
                 spillway:installation is \"two\" instead of \"one\", spillway:token is missing"
            )
        );
    }

    #[test]
    fn an_instance_is_of_the_pool_that_its_tag_names_and_by_its_name_only_without_one() {
        let launched = instance(&LAUNCHED);
        let tags = Tags::of(&launched);
        assert!(tags.name_pool("p") && !tags.name_pool("q"));
        assert_eq!(tags.our_pool("one"), Some("p"));
        assert_eq!(tags.our_pool("two"), None);
        let by_hand = instance(&[("Name", "p"), (TOKEN_TAG, "t-1")]);
        assert!(Tags::of(&by_hand).name_pool("p"));
        assert_eq!(Tags::of(&by_hand).token(), None, "a token without the pool's tag is a copied tag");
        assert!(!Tags::of(&instance(&[("Name", "p"), (POOL_TAG, "q")])).name_pool("p"));
    }
}
