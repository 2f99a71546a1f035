//! The proof that answers a coordinator's challenge: a signature of the one request that the protocol knows, with the
//! instance profile's credentials. Owns the signing; never signs anything else, and never sends it.

use std::time::SystemTime;

use aws_credential_types::Credentials as Key;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use spillway_proto::sts::{self, Endpoint, NoQuestion, Question, UnknownRegion};
use spillway_proto::v1::{Challenge, StsProof};

use crate::clock;
use crate::imds::credentials::Credentials;
use crate::imds::{Imds, ImdsError};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Not from the metadata service: the identity was given from outside.
    #[error(
        "the coordinator asks for a proof by the instance profile, and there is no instance metadata service here: set \
         grpc.trust = \"token\" of the coordinator for agents off EC2"
    )]
    NoMetadata,
    /// Nothing to sign with.
    #[error(
        "the instance has no instance profile, and the coordinator asks for a proof by it: give the launch template an \
         IamInstanceProfile (it needs no permission for this), or set grpc.trust = \"token\" of the coordinator"
    )]
    NoProfile,
    /// Retry.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// The identity document's region.
    #[error(transparent)]
    Region(#[from] UnknownRegion),
    /// It may be meant for something else.
    #[error(transparent)]
    Challenge(#[from] NoQuestion),
    /// The credentials are not what the metadata service gives out.
    #[error("cannot sign with the instance profile's credentials")]
    Signing,
}

/// Answers a challenge with what the metadata service has; `region` is this instance's own.
///
/// # Errors
/// The instance has nothing to sign with, or the challenge is not to be signed.
pub async fn prove(imds: &mut Imds, region: &str, challenge: &Challenge) -> Result<StsProof, ProofError> {
    let endpoint = Endpoint::of(region)?;
    let question = Question::new(&endpoint, &challenge.audience, &challenge.nonce)?;
    let credentials = imds.credentials().await?.ok_or(ProofError::NoProfile)?;
    signed(&question, &credentials, clock::wall_now()).ok_or(ProofError::Signing)
}

fn signed(question: &Question<'_>, credentials: &Credentials, at: SystemTime) -> Option<StsProof> {
    let Credentials { access_key_id, secret_access_key, session_token } = credentials;
    let token = Some(session_token.expose().to_owned());
    let identity = Key::new(access_key_id, secret_access_key.expose(), token, None, "instance profile").into();
    let params = v4::SigningParams::builder().identity(&identity).region(question.endpoint().region());
    let params = params.name(sts::SERVICE).time(at).settings(SigningSettings::default()).build().ok()?.into();
    let (url, headers) = (question.endpoint().url(), question.headers());
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let body = SignableBody::Bytes(sts::BODY.as_bytes());
    let request = SignableRequest::new(sts::METHOD, url.as_str(), headers, body).ok()?;
    let (instructions, signature) = sign(request, &params).ok()?.into_parts();
    let (_, amz_date) = instructions.headers().find(|(name, _)| *name == "x-amz-date")?;
    let (amz_date, session_token) = (amz_date.to_owned(), session_token.expose().to_owned());
    let proof = StsProof { access_key_id: access_key_id.clone(), session_token, amz_date, signature };
    sts::check(&proof).ok().map(|_| proof)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::secret::Secret;

    fn credentials(token: &str) -> Credentials {
        Credentials {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: Secret::new(token.to_owned()),
        }
    }

    /// The expected signature is botocore's (SigV4Auth) of the same request.
    #[test]
    fn the_signature_is_the_one_that_another_implementation_makes() {
        let endpoint = Endpoint::of("eu-west-1").expect("a region");
        let nonce: Vec<u8> = (0..32).collect();
        let question = Question::new(&endpoint, "prod-1", &nonce).expect("a question");
        let at = UNIX_EPOCH + Duration::from_secs(1_795_775_400);
        let proof = signed(&question, &credentials("IQoJb3JpZ2luX2VjEXAMPLE//+="), at).expect("a proof");
        assert_eq!(proof.amz_date, "20261127T103000Z");
        assert_eq!(proof.signature, "e292d3ecbcb35af46bf628f9fa11d0e3ecc9882b12f18c48214de92b7e26efbc");
    }

    #[test]
    fn what_would_be_refused_is_not_sent() {
        let endpoint = Endpoint::of("eu-west-1").expect("a region");
        let question = Question::new(&endpoint, "prod-1", &[0; 32]).expect("a question");
        assert_eq!(signed(&question, &credentials("not a token"), UNIX_EPOCH + Duration::from_secs(1)), None);
    }
}
