//! What the client reports, in words that lead to what can be changed.
//!
//! In: errors of librdkafka. Out: sentences, with the names that datafiles use. Secrets are in neither.

use rdkafka::error::KafkaError;

/// What the library says, and what it means for whoever wrote the connection.
const MEANINGS: &[(&str, &str)] = &[
    (
        "hostname mismatch",
        "the broker's certificate is that of another host than KAFKA_BOOTSTRAP_SERVERS or the broker itself names",
    ),
    (
        "certificate verify failed",
        "the broker's certificate is signed by nobody who is trusted, or for another host: KAFKA_SSL_CA_PEM is the \
         certificate of the authority to trust",
    ),
    ("ssl.ca.pem", "KAFKA_SSL_CA_PEM is no certificate in PEM form"),
    (
        "OAUTHBEARER token",
        "there is no token to log in with: see KAFKA_SASL_OAUTHBEARER_TOKEN_URL, KAFKA_KEY and KAFKA_SECRET",
    ),
    ("SASL authentication error", "the broker refuses the key or the secret"),
    ("SASL mechanism", "the broker does not take this KAFKA_SASL_MECHANISM"),
    (
        "increase receive.message.max.bytes",
        "the broker answers with more at once than it was asked for, and more than is taken: it ignores the sizes of a fetch",
    ),
    ("incorrect security.protocol", "the broker speaks otherwise: KAFKA_SECURITY_PROTOCOL may not be what it wants"),
    ("connecting to a PLAINTEXT broker listener", "the broker speaks no TLS: see KAFKA_SECURITY_PROTOCOL"),
];

/// An error of the client in words, without the library's names for it.
pub(super) fn words(error: &KafkaError) -> String {
    match (error, error.rdkafka_error_code()) {
        (KafkaError::ClientCreation(reason), _) => explain(reason),
        (_, Some(code)) => code.to_string(),
        (error, None) => error.to_string(),
    }
}

/// What can be done about it, if that is known.
pub(super) fn meaning(reason: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(found, _)| reason.contains(found)).map(|(_, meaning)| *meaning)
}

/// What the client says of a connection, after what it means if that is known.
pub(super) fn explain(reason: &str) -> String {
    match meaning(reason) {
        Some(meaning) => format!("{meaning} (the client reports: {reason})"),
        None => format!("the client reports: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_changed_is_named() {
        let said = explain("sasl_ssl://b:1/bootstrap: SASL authentication error: Authentication failed");
        assert!(
            said.starts_with("the broker refuses the key or the secret (the client reports: sasl_ssl://b:1"),
            "{said}"
        );
        let large =
            "b:1: Receive failed: Invalid response size 255553070 (0..100000000): increase receive.message.max.bytes";
        assert!(explain(large).starts_with("the broker answers with more at once than it was asked for"));
        assert_eq!(explain("b:1: Connect failed"), "the client reports: b:1: Connect failed");
    }
}
