//! How a request is spelled for a server, and how its answer is read.
//!
//! | backend | endpoint | asks | answers |
//! |---|---|---|---|
//! | `sglang` | `/v1/score` | score | `scores`: one list per item |
//! | `vllm-generative` | `/generative_scoring` | score | `results[].token_probs`, or `data[].score` |
//! | `vllm-score` | `/score` | rerank | `data[]` of index and score |
//! | `vllm-rerank` | `/rerank` | rerank | `results[]` of index and relevance |
//! | `tei-rerank` | `/rerank` | rerank | a list of index and score |
//! | `sglang-generate` | `/generate` | generate | text, or a stream of it |
//! | `openai-completions` | `/v1/completions` | generate | choices, or a stream of them |
//! | `openai-chat` | `/v1/chat/completions` | generate | the same |
//! | `fixed` | the workload's | fixed | anything with status 200 |

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xscope_trace::Nanos;

use crate::check::{Failure, FailureKind, Scores, excerpt};
use crate::client::Exchange;
use crate::error::{LoadError, SpellingError};
use crate::request::{Prompt, Request};
use crate::workload::{Ask, AskGenerate, PromptForm, Workload};

/// The language of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// SGLang, sglang-jax, and xscope's own engine.
    Sglang,
    VllmGenerative,
    VllmScore,
    VllmRerank,
    TeiRerank,
    SglangGenerate,
    OpenaiCompletions,
    OpenaiChat,
    Fixed,
}

struct Facts {
    name: &'static str,
    /// What `bench_serving` calls it.
    also: &'static [&'static str],
    /// Of a workload that says none.
    path: &'static str,
    asks: fn(&Ask) -> bool,
    /// Whether a prompt may be token ids.
    takes_ids: bool,
}

impl Backend {
    pub const ALL: [Self; 9] = [
        Self::Sglang,
        Self::VllmGenerative,
        Self::VllmScore,
        Self::VllmRerank,
        Self::TeiRerank,
        Self::SglangGenerate,
        Self::OpenaiCompletions,
        Self::OpenaiChat,
        Self::Fixed,
    ];

    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// All that is known of it, but for how it spells.
    fn facts(self) -> Facts {
        match self {
            Self::Sglang => Facts {
                name: "sglang",
                also: &[],
                path: "/v1/score",
                asks: |ask| matches!(ask, Ask::Score(_)),
                takes_ids: true,
            },
            Self::VllmGenerative => Facts {
                name: "vllm-generative",
                also: &[],
                path: "/generative_scoring",
                asks: |ask| matches!(ask, Ask::Score(_)),
                takes_ids: true,
            },
            Self::VllmScore => Facts {
                name: "vllm-score",
                also: &[],
                path: "/score",
                asks: |ask| matches!(ask, Ask::Rerank(_)),
                takes_ids: false,
            },
            Self::VllmRerank => Facts {
                name: "vllm-rerank",
                also: &[],
                path: "/rerank",
                asks: |ask| matches!(ask, Ask::Rerank(_)),
                takes_ids: false,
            },
            Self::TeiRerank => Facts {
                name: "tei-rerank",
                also: &[],
                path: "/rerank",
                asks: |ask| matches!(ask, Ask::Rerank(_)),
                takes_ids: false,
            },
            Self::SglangGenerate => Facts {
                name: "sglang-generate",
                also: &["sgl-jax", "sglang-native"],
                path: "/generate",
                asks: |ask| matches!(ask, Ask::Generate(_)),
                takes_ids: true,
            },
            Self::OpenaiCompletions => Facts {
                name: "openai-completions",
                also: &["sglang-oai", "vllm", "lmdeploy"],
                path: "/v1/completions",
                asks: |ask| matches!(ask, Ask::Generate(_)),
                takes_ids: true,
            },
            Self::OpenaiChat => Facts {
                name: "openai-chat",
                also: &["sglang-oai-chat", "vllm-chat", "lmdeploy-chat"],
                path: "/v1/chat/completions",
                asks: |ask| matches!(ask, Ask::Generate(_)),
                takes_ids: false,
            },
            Self::Fixed => Facts {
                name: "fixed",
                also: &[],
                path: "/",
                asks: |ask| matches!(ask, Ask::Fixed(_)),
                takes_ids: true,
            },
        }
    }

    /// The backend that a workload goes to if nobody says otherwise.
    pub fn usual(ask: &Ask) -> Self {
        match ask {
            Ask::Score(_) => Self::Sglang,
            Ask::Generate(_) => Self::SglangGenerate,
            Ask::Rerank(_) => Self::VllmRerank,
            Ask::Fixed(_) => Self::Fixed,
        }
    }

    /// Whether this workload can be spelled for it.
    pub(crate) fn check(self, workload: &Workload) -> Result<(), LoadError> {
        let Facts { asks, takes_ids, .. } = self.facts();
        if !asks(&workload.ask) {
            let usual = Self::usual(&workload.ask);
            let reason = format!("is {self}, which has no such request: take {usual}");
            return Err(LoadError::Workload { field: "backend", reason });
        }
        if workload.form == PromptForm::TokenIds && !takes_ids {
            let reason = format!("is token_ids, which {self} does not take: use text");
            return Err(LoadError::Workload { field: "form", reason });
        }
        Ok(())
    }

    pub(crate) fn method(self, ask: &Ask) -> Method {
        match ask {
            Ask::Fixed(fixed) if fixed.body.is_empty() => Method::GET,
            _ => Method::POST,
        }
    }

    pub(crate) fn path(self, ask: &Ask) -> &str {
        match ask {
            Ask::Fixed(fixed) => &fixed.path,
            _ => self.facts().path,
        }
    }

    pub(crate) fn body(self, workload: &Workload, request: &Request) -> Bytes {
        let Request { query, items, labels, output_tokens } = request;
        let model = &workload.model;
        let body = match &workload.ask {
            Ask::Score(ask) => {
                // Not as a `Value`, which is slow for thousands of token ids.
                let body = ScoreBody {
                    query,
                    items,
                    label_token_ids: labels,
                    apply_softmax: ask.apply_softmax,
                    item_first: ask.item_first,
                    model,
                };
                let body = serde_json::to_vec(&body).expect("strings and integers are JSON");
                return Bytes::from(body);
            }
            Ask::Rerank(_) => match self {
                Self::TeiRerank => json!({"query": query, "texts": items}),
                Self::VllmScore => json!({"model": model, "text_1": query, "text_2": items}),
                _ => json!({"model": model, "query": query, "documents": items}),
            },
            Ask::Generate(ask) => self.generation(ask, model, query, *output_tokens),
            Ask::Fixed(fixed) => return Bytes::copy_from_slice(fixed.body.as_bytes()),
        };
        Bytes::from(body.to_string())
    }

    fn generation(self, ask: &AskGenerate, model: &str, prompt: &Prompt, tokens: u32) -> Value {
        let AskGenerate { stream, ignore_eos, .. } = *ask;
        if self == Self::SglangGenerate {
            let field = match prompt {
                Prompt::Text(_) => "text",
                Prompt::TokenIds(_) => "input_ids",
            };
            return json!({
                field: prompt,
                "sampling_params":
                    {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": ignore_eos},
                "stream": stream,
            });
        }
        let mut body = json!({
            "model": model,
            "temperature": 0,
            "max_tokens": tokens,
            "ignore_eos": ignore_eos,
            "stream": stream,
        });
        match self {
            Self::OpenaiChat => body["messages"] = json!([{"role": "user", "content": prompt}]),
            _ => body["prompt"] = json!(prompt),
        }
        if stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }

    /// What an answer with status 200 says.
    pub(crate) fn read(
        self,
        exchange: &Exchange,
        body: &Bytes,
        labels: &[u32],
    ) -> Result<Answer, Failure> {
        match self {
            Self::Fixed => Ok(Answer::default()),
            Self::Sglang => {
                let read: ScoreAnswer = parse(body)?;
                Ok(Answer { scores: read.scores, ..Answer::counted(read.usage) })
            }
            Self::VllmGenerative | Self::VllmScore | Self::VllmRerank | Self::TeiRerank => {
                ranked(body, labels)
            }
            Self::SglangGenerate | Self::OpenaiCompletions | Self::OpenaiChat => {
                match exchange.frames.is_empty() {
                    true => {
                        let mut answer = Answer::default();
                        answer.add(&parse(body)?, exchange.end)?;
                        answer.times.clear();
                        Ok(answer)
                    }
                    false => streamed(exchange, body),
                }
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = SpellingError;

    /// Also takes the names that `bench_serving` has for them.
    fn from_str(text: &str) -> Result<Self, SpellingError> {
        let is_it = |backend: &Self| backend.name() == text || backend.facts().also.contains(&text);
        Self::ALL.into_iter().find(is_it).ok_or_else(|| SpellingError::Backend {
            text: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// What a right answer holds, whoever gave it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Answer {
    pub(crate) scores: Scores,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    /// When tokens came, and how many at once.
    pub(crate) times: Vec<(Nanos, u64)>,
}

impl Answer {
    fn counted(usage: Option<Usage>) -> Self {
        let usage = usage.unwrap_or_default();
        let (prompt_tokens, output_tokens) = (usage.prompt_tokens, usage.completion_tokens);
        Self { prompt_tokens, output_tokens, ..Self::default() }
    }

    /// Adds what one piece of a generation says.
    fn add(&mut self, piece: &Piece, at: Nanos) -> Result<(), Failure> {
        if let Some(error) = &piece.error {
            let detail = format!("the server ends the stream with an error: {error}");
            return Err(Failure::new(FailureKind::HttpStatus, detail));
        }
        let usage = piece.meta_info.or(piece.usage).unwrap_or_default();
        self.prompt_tokens = usage.prompt_tokens.or(self.prompt_tokens);
        let before: u64 = self.times.iter().map(|(_, count)| count).sum();
        // SGLang counts for us; a choice with something in it is one token.
        let fresh = match piece.meta_info.and_then(|meta| meta.completion_tokens) {
            Some(total) => total.saturating_sub(before),
            None => u64::from(piece.choices.iter().any(Choice::is_token)),
        };
        if fresh > 0 {
            self.times.push((at, fresh));
        }
        self.output_tokens = usage.completion_tokens.or(Some(before + fresh));
        Ok(())
    }
}

#[derive(Serialize)]
struct ScoreBody<'r> {
    query: &'r Prompt,
    items: &'r [Prompt],
    label_token_ids: &'r [u32],
    apply_softmax: bool,
    item_first: bool,
    model: &'r str,
}

/// The part of a score answer that is used; other fields may come and go.
#[derive(Deserialize)]
struct ScoreAnswer {
    scores: Scores,
    #[serde(default)]
    usage: Option<Usage>,
}

/// Token counts, where the server gives them.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

/// One item of a ranking.
#[derive(Deserialize)]
struct Ranked {
    index: usize,
    #[serde(alias = "relevance_score")]
    score: Option<f64>,
    token_probs: Option<std::collections::BTreeMap<String, f64>>,
}

/// An answer that is a list of indices with scores, bare or in a field.
fn ranked(body: &Bytes, labels: &[u32]) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Spelled {
        Bare(Vec<Ranked>),
        Field {
            #[serde(alias = "data")]
            results: Vec<Ranked>,
            #[serde(default)]
            usage: Option<Usage>,
        },
    }
    let (list, usage) = match parse(body)? {
        Spelled::Bare(list) => (list, None),
        Spelled::Field { results, usage } => (results, usage),
    };
    let mut scores: Vec<Option<Vec<f64>>> = vec![None; list.len()];
    for Ranked { index, score, token_probs } in list {
        let row = match (token_probs, score) {
            (Some(probs), _) => {
                labels.iter().filter_map(|label| probs.get(&label.to_string()).copied()).collect()
            }
            (None, Some(score)) => vec![score],
            (None, None) => Vec::new(),
        };
        match scores.get_mut(index) {
            Some(place @ None) => *place = Some(row),
            _ => {
                let detail = format!("index {index} comes twice, or is no item's");
                return Err(Failure::new(FailureKind::WrongShape, detail));
            }
        }
    }
    Ok(Answer { scores: scores.into_iter().flatten().collect(), ..Answer::counted(usage) })
}

/// One event of a stream, or the whole answer without one.
#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    meta_info: Option<Usage>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    role: Option<String>,
    content: Option<String>,
}

impl Choice {
    /// Whether a token came with it: also one without text, but not the frame of a message.
    fn is_token(&self) -> bool {
        let delta = self.delta.as_ref();
        let text = self.text.as_deref().or_else(|| delta?.content.as_deref());
        let is_frame =
            self.finish_reason.is_some() || delta.is_some_and(|delta| delta.role.is_some());
        text.is_some_and(|text| !text.is_empty() || !is_frame)
    }
}

/// Reads server-sent events; each counts from the arrival of its last byte.
fn streamed(exchange: &Exchange, body: &Bytes) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    let (mut at, mut frame) = (0, 0);
    let mut done = false;
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        at += line.len();
        let Some(data) = line.strip_prefix(b"data:") else { continue };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            done = true;
            break;
        }
        while frame + 1 < exchange.frames.len() && exchange.frames[frame].1 < at {
            frame += 1;
        }
        let piece: Piece = serde_json::from_slice(data).map_err(|error| malformed(&error, data))?;
        answer.add(&piece, exchange.frames[frame].0)?;
    }
    match done {
        true => Ok(answer),
        false => {
            let detail = "the stream ends without [DONE], so the answer may not be whole";
            Err(Failure::new(FailureKind::Closed, detail))
        }
    }
}

fn parse<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| malformed(&error, body))
}

fn malformed(error: &serde_json::Error, body: &[u8]) -> Failure {
    let text = excerpt(body);
    Failure::new(FailureKind::Malformed, format!("not the answer of this backend: {error}: {text}"))
}
