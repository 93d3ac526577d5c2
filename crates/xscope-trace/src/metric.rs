//! Numbers that say whether they can be trusted.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Whether a [`Metric`] can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It can.
    Valid,
    /// There is a value, but something is known to distort it.
    Degraded,
    /// There is no value; it is not zero, it is unknown.
    Unavailable,
}

/// A figure with its unit and its status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(!from))]
#[serde(from = "Spelled")]
pub struct Metric {
    /// The number; `null` if it is unavailable.
    pub value: Option<f64>,
    /// The unit of the value; `1` for what has none, such as shares.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub unit: Cow<'static, str>,
    /// Whether the value can be trusted.
    pub status: Status,
    /// Why the status is not valid; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
}

impl Default for Metric {
    fn default() -> Self {
        Self::unavailable("", "not measured")
    }
}

/// A metric as files have it: those of other tools, and older ones, have plain numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Spelled {
    Bare(Option<f64>),
    Whole {
        value: Option<f64>,
        unit: Cow<'static, str>,
        status: Status,
        #[serde(default)]
        reason: Option<Cow<'static, str>>,
    },
}

impl From<Spelled> for Metric {
    fn from(spelled: Spelled) -> Self {
        match spelled {
            Spelled::Bare(value) => Self::known(value, "", "not measured"),
            Spelled::Whole { value, unit, status, reason } => Self { value, unit, status, reason },
        }
    }
}

/// What [`in_unit`] is for: a metric, or one that may be absent.
pub trait Metrics: Clone {
    fn metric(&mut self) -> Option<&mut Metric>;

    /// The same, in `unit` if it has none.
    #[must_use]
    fn in_unit(mut self, unit: &'static str) -> Self {
        if let Some(metric) = self.metric().filter(|metric| metric.unit.is_empty()) {
            metric.unit = Cow::Borrowed(unit);
        }
        self
    }
}

impl Metrics for Metric {
    fn metric(&mut self) -> Option<&mut Metric> {
        Some(self)
    }
}

impl Metrics for Option<Metric> {
    fn metric(&mut self) -> Option<&mut Metric> {
        self.as_mut()
    }
}

/// The unit that a figure's name ends with; `1` if it ends with none.
pub fn unit_of(name: &str) -> &'static str {
    let units = [
        ("items_per_sec", "items/s"),
        ("tokens_per_sec", "tokens/s"),
        ("_per_sec", "1/s"),
        ("_ms", "ms"),
        ("_mb", "MB"),
    ];
    units.iter().find(|(end, _)| name.ends_with(end)).map_or("1", |(_, unit)| unit)
}

/// Makes serde's helpers for fields whose metrics are in one unit.
macro_rules! in_unit {
    ($($name:ident $unit:literal;)+) => {
        /// For fields of one unit: what was not measured, and a plain number that is read, are in it.
        pub mod in_unit {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            use super::Metrics;

            $(
                #[doc = concat!("Metrics in ", $unit, ".")]
                #[derive(Debug, Clone, Copy)]
                pub struct $name;

                impl $name {
                    /// # Errors
                    ///
                    /// What is there is no metric and no number.
                    pub fn deserialize<'de, D: Deserializer<'de>, M: Metrics + Deserialize<'de>>(
                        deserializer: D,
                    ) -> Result<M, D::Error> {
                        Ok(M::deserialize(deserializer)?.in_unit($unit))
                    }

                    /// # Errors
                    ///
                    /// Those of the serializer.
                    pub fn serialize<S: Serializer, M: Metrics + Serialize>(
                        metric: &M,
                        serializer: S,
                    ) -> Result<S::Ok, S::Error> {
                        metric.clone().in_unit($unit).serialize(serializer)
                    }
                }

                #[cfg(feature = "schema")]
                impl schemars::JsonSchema for $name {
                    fn inline_schema() -> bool {
                        true
                    }

                    fn schema_name() -> std::borrow::Cow<'static, str> {
                        stringify!($name).into()
                    }

                    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                        let mut schema = generator.subschema_for::<super::Metric>();
                        schema.insert(
                            "properties".to_owned(),
                            serde_json::json!({ "unit": { "const": $unit } }),
                        );
                        schema
                    }
                }
            )+
        }
    };
}

in_unit! {
    Ms "ms";
    Mb "MB";
    PerSec "1/s";
    ItemsPerSec "items/s";
    TokensPerSec "tokens/s";
    InBytes "B";
    BytesPerSec "B/s";
    Flops "FLOP";
    FlopsPerSec "FLOP/s";
    FlopsPerByte "FLOP/B";
    Cores "cores";
    Plain "1";
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

    /// Whether it is a number without doubts.
    pub fn is_valid(&self) -> bool {
        self.status == Status::Valid
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
