//! TLS, by rustls. It always verifies: certificate, name and time.

use crate::{fault::Fault, url::Place};
use std::{error::Error, io, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Connects with TLS, trusting these authorities (PEM), or those of the system.
pub(crate) fn connector(authorities: Option<&[u8]>) -> Result<TlsConnector, Fault> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let found =
                found.map_err(|error| Fault::usage(format!("--ca: certificates in PEM are expected: {error}")))?;
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                return Err(Fault::usage("--ca: no certificate of an authority (PEM) is in the file"));
            }
        }
        None => {
            // Some systems have one that nobody can read: the others still count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Fault::unreachable("the system has no certificates of authorities: give one with --ca"));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::failed(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What is in the file of `--ca`.
pub(crate) fn authorities(file: Option<&Path>) -> Result<Option<Vec<u8>>, Fault> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|error| Fault::usage(format!("--ca: `{}` cannot be read: {error}", file.display())))
    };
    file.map(read).transpose()
}

pub(crate) async fn connect(
    connector: &TlsConnector,
    place: &Place,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Fault> {
    let name = ServerName::try_from(place.host.clone())
        .map_err(|_| Fault::usage(format!("`{}` is no name that a certificate can have", place.host)))?;
    connector.connect(name, stream).await.map_err(|error| refused(place, &error))
}

fn refused(place: &Place, error: &io::Error) -> Fault {
    use rustls::{CertificateError::*, Error::*};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let advice = match cause {
        Some(InvalidCertificate(UnknownIssuer | BadSignature)) => {
            "nobody whom this machine trusts has signed it: --ca names the authority"
        }
        Some(InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => "it is for another host",
        Some(InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })) => {
            "it is not valid at this time"
        }
        Some(InvalidCertificate(_)) => "it cannot be trusted",
        Some(InvalidMessage(_)) => "it does not speak TLS: is http:// meant?",
        _ if error.kind() == io::ErrorKind::UnexpectedEof => "it broke off: is http:// meant?",
        _ => "the handshake failed",
    };
    let what = if matches!(cause, Some(InvalidCertificate(_))) { "the certificate of" } else { "TLS with" };
    let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Fault::unreachable(format!("{what} {}: {advice} ({why})", place.authority))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CertificateError, Error, InvalidMessage};

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let place = Place::parse("--url", "https://a:1/").unwrap();
        let said = |cause: Error| refused(&place, &io::Error::new(io::ErrorKind::InvalidData, cause)).text;
        let of = |cause| said(Error::InvalidCertificate(cause));
        assert!(
            of(CertificateError::UnknownIssuer).starts_with("the certificate of a:1: nobody whom this machine trusts")
        );
        assert!(of(CertificateError::NotValidForName).contains("it is for another host"));
        assert!(of(CertificateError::Expired).contains("it is not valid at this time"));
        assert!(said(Error::InvalidMessage(InvalidMessage::InvalidContentType)).contains("is http:// meant?"));
    }
}
