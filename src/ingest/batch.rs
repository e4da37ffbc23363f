//! One flush: good rows to the table, refused rows to the quarantine, then the caller may acknowledge.
