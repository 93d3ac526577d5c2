//! The files in `docs/ci/` are what GitHub and Kubernetes take, and their command lines are ours.

use std::collections::BTreeSet;

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

use super::shell::checked;

/// A file of this repository.
fn file(path: &str) -> String {
    std::fs::read_to_string(xscope_testing::repository().join(path)).unwrap()
}

fn documents(yaml: &str) -> Vec<Value> {
    Yaml::load_from_str(yaml).unwrap().iter().map(json).collect()
}

fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let Yaml::Value(Scalar::String(key)) = key else { panic!("key {key:?}") };
                (key.to_string(), json(value))
            });
            fields.collect::<Map<_, _>>().into()
        }
        _ => Value::Null,
    }
}

/// What is wrong with a value that should be an object with only these fields.
fn unknown(value: &Value, place: &str, known: &[&str], problems: &mut Vec<String>) {
    let Some(fields) = value.as_object() else {
        problems.push(format!("{place} is no mapping"));
        return;
    };
    let strange = fields.keys().filter(|key| !known.contains(&key.as_str()));
    problems.extend(strange.map(|key| format!("{place} has an unknown field {key}")));
}

fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    value[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What GitHub would refuse a workflow for, as far as this one goes.
fn workflow_problems(workflow: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let top = ["name", "on", "permissions", "concurrency", "env", "jobs", "defaults", "run-name"];
    unknown(workflow, "the workflow", &top, &mut problems);
    let events = ["schedule", "workflow_dispatch", "pull_request", "push", "workflow_call"];
    unknown(&workflow["on"], "on", &events, &mut problems);
    for schedule in workflow["on"]["schedule"].as_array().into_iter().flatten() {
        let cron = schedule["cron"].as_str().unwrap_or_default();
        if cron.split_whitespace().count() != 5 {
            problems.push(format!("cron {cron:?} has not five fields"));
        }
    }
    for (scope, access) in workflow["permissions"].as_object().into_iter().flatten() {
        if !["read", "write", "none"].contains(&access.as_str().unwrap_or_default()) {
            problems.push(format!("permission {scope}: {access}"));
        }
    }
    let jobs = workflow["jobs"].as_object();
    if jobs.is_none_or(Map::is_empty) {
        problems.push("no jobs".to_owned());
    }
    for (name, job) in jobs.into_iter().flatten() {
        job_problems(name, job, &mut problems);
    }
    if !expressions_end(workflow) {
        problems.push("an expression is not closed".to_owned());
    }
    problems
}

fn expressions_end(value: &Value) -> bool {
    match value {
        Value::String(text) => text.split("${{").skip(1).all(|rest| rest.contains("}}")),
        Value::Array(items) => items.iter().all(expressions_end),
        Value::Object(fields) => fields.values().all(expressions_end),
        _ => true,
    }
}

fn job_problems(name: &str, job: &Value, problems: &mut Vec<String>) {
    let known = [
        "name",
        "needs",
        "if",
        "runs-on",
        "timeout-minutes",
        "steps",
        "env",
        "outputs",
        "permissions",
        "strategy",
        "container",
        "services",
        "continue-on-error",
        "concurrency",
    ];
    unknown(job, name, &known, problems);
    if job["runs-on"].is_null() {
        problems.push(format!("job {name} does not say what it runs on"));
    }
    let steps = job["steps"].as_array();
    if steps.is_none_or(Vec::is_empty) {
        problems.push(format!("job {name} has no steps"));
    }
    let mut ids = BTreeSet::new();
    for (number, step) in (1..).zip(steps.into_iter().flatten()) {
        let place = format!("step {number} of {name}");
        let known = [
            "id",
            "if",
            "name",
            "uses",
            "run",
            "with",
            "env",
            "shell",
            "working-directory",
            "timeout-minutes",
            "continue-on-error",
        ];
        unknown(step, &place, &known, problems);
        if step["uses"].is_string() == step["run"].is_string() {
            problems.push(format!("{place} must have either uses or run"));
        }
        if let Some(uses) = step["uses"].as_str() {
            let pinned = uses.split_once('@').filter(|(action, version)| {
                action.matches('/').count() >= 1 && !version.is_empty()
            });
            if pinned.is_none() {
                problems.push(format!("{place} uses {uses:?}, which is no owner/action@version"));
            }
        }
        let days = &step["with"]["retention-days"];
        if !days.is_null() && !days.as_u64().is_some_and(|days| (1..=400).contains(&days)) {
            problems.push(format!("{place} keeps artefacts for {days} days"));
        }
        // An output can only be read of a step that was before.
        let text = step.to_string();
        for part in text.split("steps.").skip(1) {
            let id = part.split('.').next().unwrap_or_default();
            if !ids.contains(id) {
                problems.push(format!("{place} reads of step {id:?}, which is not before it"));
            }
        }
        ids.insert(step["id"].as_str().unwrap_or_default().to_owned());
    }
}

/// What Kubernetes would refuse a Job for, as far as this one goes.
fn kubernetes_problems(job: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if job["apiVersion"] != "batch/v1" || job["kind"] != "Job" {
        problems.push("no batch/v1 Job".to_owned());
    }
    dns_name(&job["metadata"]["name"], "the job", &mut problems);
    let known = [
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
        "template",
        "completions",
        "parallelism",
        "suspend",
    ];
    unknown(&job["spec"], "spec", &known, &mut problems);
    let pod = &job["spec"]["template"]["spec"];
    let known = [
        "restartPolicy",
        "nodeSelector",
        "initContainers",
        "containers",
        "volumes",
        "tolerations",
        "serviceAccountName",
        "affinity",
    ];
    unknown(pod, "the pod", &known, &mut problems);
    if pod["restartPolicy"] != "Never" && pod["restartPolicy"] != "OnFailure" {
        problems.push("the pod's restartPolicy must be Never or OnFailure".to_owned());
    }
    let volumes: Vec<&str> = pod["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    if pod["containers"].as_array().is_none_or(Vec::is_empty) {
        problems.push("the pod has no containers".to_owned());
    }
    for container in ["initContainers", "containers"]
        .iter()
        .flat_map(|kind| pod[*kind].as_array().into_iter().flatten())
    {
        container_problems(container, &volumes, &mut problems);
    }
    problems
}

fn container_problems(container: &Value, volumes: &[&str], problems: &mut Vec<String>) {
    let known = [
        "name",
        "image",
        "command",
        "args",
        "env",
        "resources",
        "volumeMounts",
        "workingDir",
        "ports",
        "imagePullPolicy",
        "securityContext",
    ];
    unknown(container, "a container", &known, problems);
    dns_name(&container["name"], "a container", problems);
    if container["image"].as_str().is_none_or(str::is_empty) {
        problems.push("a container has no image".to_owned());
    }
    for list in ["command", "args"] {
        let all = container[list].as_array().map_or(0, Vec::len);
        if texts(container, list).len() != all || container[list].is_string() {
            problems.push(format!("{list} is no list of texts"));
        }
    }
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.contains(&name) {
            problems.push(format!("there is no volume {name:?} to mount"));
        }
    }
    for env in container["env"].as_array().into_iter().flatten() {
        if !env["value"].is_string() && env["valueFrom"].is_null() {
            problems.push(format!("the value of {} must be a text", env["name"]));
        }
    }
}

/// Lower-case letters, digits and '-', at most 63, as RFC 1123 has it.
fn dns_name(name: &Value, place: &str, problems: &mut Vec<String>) {
    let text = name.as_str().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty()
        || text.len() > 63
        || !text.chars().all(is_plain)
        || text.starts_with('-')
        || text.ends_with('-')
    {
        problems.push(format!("{place} has the name {name}"));
    }
}

#[test]
fn the_workflow_is_one_that_github_takes() {
    let workflow = documents(&file("docs/ci/github/xscope.yml")).remove(0);
    assert_eq!(workflow_problems(&workflow), Vec::<String>::new());
    for (event, wanted) in [("schedule", true), ("workflow_dispatch", true), ("push", false)] {
        assert_eq!(workflow["on"].get(event).is_some(), wanted, "{event}");
    }
    let steps = workflow["jobs"]["measure"]["steps"].as_array().unwrap();
    let scripts = steps.iter().filter_map(|step| step["run"].as_str());
    assert_eq!(scripts.map(checked).sum::<usize>(), 3, "profile, compare, baseline");
    let text = workflow.to_string();
    for part in ["upload-artifact", "retention-days", "createComment", "SLACK_WEBHOOK_URL"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn the_job_is_one_that_kubernetes_takes() {
    let documents = documents(&file("docs/ci/kubernetes/job.yaml"));
    let [claim, job] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!(kubernetes_problems(job), Vec::<String>::new());
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][1]["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
    assert!(claim["spec"]["resources"]["requests"]["storage"].is_string());
    assert_eq!(checked(pod["containers"][0]["args"][0].as_str().unwrap()), 3);
}

#[test]
fn what_is_wrong_is_found() {
    let workflow = |text: &str| workflow_problems(&documents(text).remove(0));
    let job = "jobs:\n  j:\n    runs-on: x\n    steps:\n";
    assert!(workflow(&format!("on: {{push: }}\n{job}      - run: ls")).is_empty());
    for (text, expected) in [
        ("on: {push: }\njobs: {}", "no jobs"),
        ("on: {never: }\njobs: {j: {runs-on: x, steps: [{run: ls}]}}", "never"),
        ("on: {push: }\njobs: {j: {steps: [{run: ls}]}}", "runs on"),
        ("on: {push: }\njobs: {j: {runs-on: x, steps: [{name: n}]}}", "either uses or run"),
        ("on: {push: }\njobs: {j: {runs-on: x, steps: [{uses: checkout}]}}", "owner/action"),
        ("on: {push: }\njobs: {j: {runs-on: x, steps: [{run: '${{ a }'}]}}", "not closed"),
        ("on: {push: }\njobs: {j: {runs-on: x, steps: [{run: ls, if: steps.a.x}]}}", "not before"),
        ("on: {schedule: [{cron: '* *'}]}\njobs: {j: {runs-on: x, steps: [{run: ls}]}}", "five"),
    ] {
        let problems = workflow(text).join("; ");
        assert!(problems.contains(expected), "{text}: {problems}");
    }
    let good = file("docs/ci/kubernetes/job.yaml");
    for (from, to, expected) in [
        ("batch/v1", "v1", "no batch/v1 Job"),
        ("restartPolicy: Never", "restartPolicy: Always", "restartPolicy"),
        ("name: measure", "name: Measure_1", "Measure_1"),
        ("- name: results\n          persistent", "- name: other\n          persistent", "volume"),
        ("value: Qwen/Qwen3-0.6B", "value: 1", "must be a text"),
    ] {
        assert!(good.contains(from), "{from}");
        let problems = kubernetes_problems(&documents(&good.replace(from, to))[1]).join("; ");
        assert!(problems.contains(expected), "{to}: {problems}");
    }
}
