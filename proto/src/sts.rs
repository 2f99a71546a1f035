//! The one request by which an instance proves who it is: `sts:GetCallerIdentity` of one region, for one audience, with
//! one nonce. The agent signs it and the coordinator sends it, and both have it from here: nothing of it is on the wire
//! but what a signature adds ([`StsProof`]), and nothing else can be signed or sent.

use std::fmt;

use crate::v1::StsProof;

/// The request's method, its path and its body: they never differ.
pub const METHOD: &str = "POST";
pub const PATH: &str = "/";
pub const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
/// The service's name in a signature.
pub const SERVICE: &str = "sts";
/// All headers of the request, and all of them are signed.
pub const SIGNED_HEADERS: &str =
    "accept;content-type;host;x-amz-date;x-amz-security-token;x-spillway-audience;x-spillway-nonce";
/// The metadata key of a session by which an agent says which boot of its instance it runs in.
pub const BOOT_KEY: &str = "spillway-boot";

/// Bytes of a challenge's nonce.
pub const NONCE: usize = 32;
/// The longest audience: an installation's name.
const LONGEST_AUDIENCE: usize = 64;
const LONGEST_TOKEN: usize = 4096;
const LONGEST_KEY_ID: usize = 128;
const SHORTEST_KEY_ID: usize = 16;
const SIGNATURE: usize = 64;
/// Prefixes of the regions of the partition `aws`.
const USUAL: [&str; 9] = ["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"];

/// STS of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    region: String,
    partition: &'static str,
    suffix: &'static str,
}

/// A region that is of no partition which is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRegion(pub String);

impl fmt::Display for UnknownRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().filter(|it| !it.is_control()).take(LONGEST_AUDIENCE).collect();
        write!(f, "\"{shown}\" is no region of AWS that is known here: write us-east-1, for example")
    }
}

impl std::error::Error for UnknownRegion {}

impl Endpoint {
    /// The regional endpoint, by the pattern that the region's name has.
    ///
    /// # Errors
    /// It has none that is known.
    pub fn of(region: &str) -> Result<Self, UnknownRegion> {
        let unknown = || UnknownRegion(region.to_owned());
        let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_number = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<&str> = region.split('-').collect();
        let (partition, suffix) = match parts[..] {
            ["us", "gov", word, number] if is_word(&word) && is_number(number) => ("aws-us-gov", "amazonaws.com"),
            ["us", "iso", word, number] if is_word(&word) && is_number(number) => ("aws-iso", "c2s.ic.gov"),
            ["us", "isob", word, number] if is_word(&word) && is_number(number) => ("aws-iso-b", "sc2s.sgov.gov"),
            ["us", "isof", word, number] if is_word(&word) && is_number(number) => ("aws-iso-f", "csp.hci.ic.gov"),
            ["eu", "isoe", word, number] if is_word(&word) && is_number(number) => ("aws-iso-e", "cloud.adc-e.uk"),
            ["eusc", country, word, number] if is_word(&country) && is_word(&word) && is_number(number) => {
                ("aws-eusc", "amazonaws.eu")
            }
            ["cn", word, number] if is_word(&word) && is_number(number) => ("aws-cn", "amazonaws.com.cn"),
            [first, word, number] if USUAL.contains(&first) && is_word(&word) && is_number(number) => {
                ("aws", "amazonaws.com")
            }
            _ => return Err(unknown()),
        };
        Ok(Self { region: region.to_owned(), partition, suffix })
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// As in an ARN.
    pub fn partition(&self) -> &'static str {
        self.partition
    }

    /// The host that is signed and asked.
    pub fn host(&self) -> String {
        format!("sts.{}.{}", self.region, self.suffix)
    }

    pub fn url(&self) -> String {
        format!("https://{}{PATH}", self.host())
    }
}

/// What a signature answers: which installation asks, with which nonce, at which STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    endpoint: &'a Endpoint,
    audience: &'a str,
    nonce: String,
}

/// A challenge that nobody should sign: it could be meant for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoQuestion(&'static str);

impl fmt::Display for NoQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoQuestion {}

impl<'a> Question<'a> {
    /// # Errors
    /// The nonce does not have 32 bytes, or the audience is no installation's name (1 to 64 letters, digits, dots,
    /// dashes and underscores).
    pub fn new(endpoint: &'a Endpoint, audience: &'a str, nonce: &[u8]) -> Result<Self, NoQuestion> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !(1..=LONGEST_AUDIENCE).contains(&audience.len()) || !audience.bytes().all(is_plain) {
            return Err(NoQuestion("the challenge's audience is no name of an installation"));
        }
        if nonce.len() != NONCE {
            return Err(NoQuestion("the challenge's nonce does not have 32 bytes"));
        }
        let nonce = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { endpoint, audience, nonce })
    }

    pub fn endpoint(&self) -> &Endpoint {
        self.endpoint
    }

    /// Every header but those that a signature adds: `x-amz-date`, `x-amz-security-token`, `authorization`.
    pub fn headers(&self) -> [(&'static str, String); 5] {
        [
            ("accept", "application/json".to_owned()),
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned()),
            ("host", self.endpoint.host()),
            ("x-spillway-audience", self.audience.to_owned()),
            ("x-spillway-nonce", self.nonce.clone()),
        ]
    }

    /// Those: with the others they are the whole request. The proof must have passed [`check`].
    pub fn headers_of(&self, proof: &StsProof) -> [(&'static str, String); 3] {
        let StsProof { access_key_id, session_token, amz_date, signature } = proof;
        let day = amz_date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.endpoint.region);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders={SIGNED_HEADERS}, Signature={signature}"
        );
        [
            ("x-amz-date", amz_date.clone()),
            ("x-amz-security-token", session_token.clone()),
            ("authorization", authorization),
        ]
    }
}

/// A proof that is outside of the protocol's bounds. Never shows what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sts_proof.{} is outside of its bounds", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Whether each field has its length and its alphabet: then nothing in it can end a header, or a name in one. When it
/// was signed, in seconds after 1970.
///
/// # Errors
/// Which field is not so.
pub fn check(proof: &StsProof) -> Result<u64, Malformed> {
    let StsProof { access_key_id, session_token, amz_date, signature } = proof;
    let is_key = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if !(SHORTEST_KEY_ID..=LONGEST_KEY_ID).contains(&access_key_id.len()) || !access_key_id.bytes().all(is_key) {
        return Err(Malformed("access_key_id"));
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if !(1..=LONGEST_TOKEN).contains(&session_token.len()) || !session_token.bytes().all(is_token) {
        return Err(Malformed("session_token"));
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if signature.len() != SIGNATURE || !signature.bytes().all(is_hex) {
        return Err(Malformed("signature"));
    }
    seconds(amz_date).ok_or(Malformed("amz_date"))
}

/// `20261127T103000Z`, in seconds after 1970.
fn seconds(date: &str) -> Option<u64> {
    let text = date.as_bytes();
    if text.len() != 16 || text[8] != b'T' || text[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        let value = |value: u64, digit: &u8| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'));
        digits.iter().try_fold(0, value)
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let is_leap = |year: u64| year.is_multiple_of(400) || (year.is_multiple_of(4) && !year.is_multiple_of(100));
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month).ok()?.checked_sub(1)?;
    let of_month = *months.get(before)?;
    if year < 1970 || !(1..=of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let days = years + months.iter().take(before).sum::<u64>() + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> StsProof {
        StsProof {
            access_key_id: "ASIA0123456789ABCDEF".to_owned(),
            session_token: "IQoJb3JpZ2lu+/=".to_owned(),
            amz_date: "20261127T103000Z".to_owned(),
            signature: "0123456789abcdef".repeat(4),
        }
    }

    #[test]
    fn each_region_is_of_one_partition_and_what_is_no_region_is_refused() {
        for (region, partition, host) in [
            ("us-east-1", "aws", "sts.us-east-1.amazonaws.com"),
            ("ap-southeast-7", "aws", "sts.ap-southeast-7.amazonaws.com"),
            ("cn-north-1", "aws-cn", "sts.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "aws-us-gov", "sts.us-gov-west-1.amazonaws.com"),
            ("us-iso-east-1", "aws-iso", "sts.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sts.us-isob-east-1.sc2s.sgov.gov"),
            ("us-isof-south-1", "aws-iso-f", "sts.us-isof-south-1.csp.hci.ic.gov"),
            ("eu-isoe-west-1", "aws-iso-e", "sts.eu-isoe-west-1.cloud.adc-e.uk"),
            ("eusc-de-east-1", "aws-eusc", "sts.eusc-de-east-1.amazonaws.eu"),
        ] {
            let endpoint = Endpoint::of(region).unwrap();
            assert_eq!((endpoint.partition(), endpoint.host().as_str()), (partition, host));
            assert_eq!(endpoint.url(), format!("https://{host}/"));
        }
        for region in
            ["", "global", "aws-global", "us-east", "us-east-1a", "us-east-1.evil.com/", "us-east-1\r\n", "xx-east-1"]
        {
            assert!(Endpoint::of(region).is_err(), "{region:?}");
        }
    }

    #[test]
    fn every_header_is_signed_and_none_is_there_twice() {
        let endpoint = Endpoint::of("us-east-1").unwrap();
        let question = Question::new(&endpoint, "prod-1", &[0xab; NONCE]).unwrap();
        let (ours, of_proof) = (question.headers(), question.headers_of(&proof()));
        let mut names: Vec<&str> = ours.iter().chain(&of_proof).map(|(name, _)| *name).collect();
        names.retain(|name| *name != "authorization");
        names.sort_unstable();
        assert_eq!(names.join(";"), SIGNED_HEADERS);
        assert_eq!(ours[4].1, "ab".repeat(NONCE));
        let scope = "Credential=ASIA0123456789ABCDEF/20261127/us-east-1/sts/aws4_request, ";
        assert!(of_proof[2].1.contains(scope), "{}", of_proof[2].1);
    }

    #[test]
    fn what_could_be_meant_for_something_else_is_no_question() {
        let endpoint = Endpoint::of("us-east-1").unwrap();
        for (audience, length) in [("", 32), ("a b", 32), ("a\nb", 32), (&*"a".repeat(65), 32), ("a", 31), ("a", 33)] {
            assert!(Question::new(&endpoint, audience, &vec![0; length]).is_err(), "{audience:?} {length}");
        }
    }

    #[test]
    fn a_date_is_a_moment_or_none() {
        for (date, expect) in [
            ("19700101T000000Z", Some(0)),
            ("20190121T090043Z", Some(1_548_061_243)),
            ("20240229T235959Z", Some(1_709_251_199)),
            ("20000301T000000Z", Some(951_868_800)),
            ("21000228T000000Z", Some(4_107_456_000)),
            ("20230229T000000Z", None),
            ("20190121T090043", None),
            ("20190121t090043Z", None),
            ("20191321T090043Z", None),
            ("20190100T090043Z", None),
            ("20190121T240043Z", None),
            ("19691231T235959Z", None),
            ("2019+121T090043Z", None),
            ("２０１９0121T0900Z", None),
        ] {
            assert_eq!(seconds(date), expect, "{date}");
        }
    }

    #[test]
    fn each_field_of_a_proof_has_its_length_and_its_alphabet() {
        assert!(check(&proof()).is_ok());
        let wrong = [
            ("access_key_id", StsProof { access_key_id: "A".repeat(15), ..proof() }),
            ("access_key_id", StsProof { access_key_id: "A".repeat(129), ..proof() }),
            ("access_key_id", StsProof { access_key_id: "asia0123456789abcdef".to_owned(), ..proof() }),
            ("session_token", StsProof { session_token: String::new(), ..proof() }),
            ("session_token", StsProof { session_token: "a".repeat(4097), ..proof() }),
            ("session_token", StsProof { session_token: "a\r\nx-other: 1".to_owned(), ..proof() }),
            ("session_token", StsProof { session_token: "a&b".to_owned(), ..proof() }),
            ("amz_date", StsProof { amz_date: "20261127".to_owned(), ..proof() }),
            ("signature", StsProof { signature: "A".repeat(64), ..proof() }),
            ("signature", StsProof { signature: "0".repeat(63), ..proof() }),
        ];
        for (field, proof) in wrong {
            let refused = check(&proof).unwrap_err();
            assert_eq!(refused.to_string(), format!("sts_proof.{field} is outside of its bounds"));
        }
    }
}
