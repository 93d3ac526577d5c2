//! Numbers that say whether they can be trusted.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Whether a [`Metric`] can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Valid,
    /// There is a value, but something is known to distort it.
    Degraded,
    /// There is no value; it is not zero, it is unknown.
    Unavailable,
}

/// A figure with its unit and its status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Present unless the status is unavailable.
    pub value: Option<f64>,
    pub unit: Cow<'static, str>,
    pub status: Status,
    /// Why the status is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
}

impl Metric {
    pub fn valid(value: f64, unit: &'static str) -> Self {
        Self { value: Some(value), unit: Cow::Borrowed(unit), status: Status::Valid, reason: None }
    }

    pub fn degraded(value: f64, unit: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            value: Some(value),
            unit: Cow::Borrowed(unit),
            status: Status::Degraded,
            reason: Some(reason.into()),
        }
    }

    pub fn unavailable(unit: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            value: None,
            unit: Cow::Borrowed(unit),
            status: Status::Unavailable,
            reason: Some(reason.into()),
        }
    }

    /// Marks a value as distorted for one more reason; what has no value stays unavailable.
    pub fn degrade(&mut self, reason: &str) {
        if self.status == Status::Unavailable {
            return;
        }
        self.status = Status::Degraded;
        self.reason = Some(match self.reason.take() {
            Some(known) => format!("{known}; {reason}").into(),
            None => reason.to_owned().into(),
        });
    }

    /// Valid if there is a value, else unavailable for `reason`.
    pub fn known(value: Option<f64>, unit: &'static str, reason: &'static str) -> Self {
        match value {
            Some(value) => Self::valid(value, unit),
            None => Self::unavailable(unit, reason),
        }
    }
}
