//! How every run that measures a server begins and ends: its directory, and the server ready.

use serde_json::json;
use xscope_load::Ready;
use xscope_trace::clock;
use xscope_trace::run::{RunDir, RunStatus};

use crate::command::named_model;
use crate::control::{Control, Event};
use crate::error::CaptureError;
use crate::request::RunRequest;
use crate::results::{About, hardware_of, model_of, new_run};
use crate::under_test::ServerUnderTest;

/// A run whose server is ready.
pub(crate) struct Begun<T> {
    pub(crate) run: RunDir,
    pub(crate) ready: Ready,
    /// What was made of what the server says.
    pub(crate) prepared: T,
}

/// Makes the run and gets the server ready, in this order if it has to be started: its log lies in the
/// run. Of one that is there already, or of what cannot be asked of it, nothing is left behind.
///
/// # Errors
///
/// The server does not get ready, or `prepare` refuses it.
pub(crate) async fn begin<T>(
    request: &RunRequest,
    about: About,
    server: &mut ServerUnderTest,
    control: Control<'_>,
    prepare: impl FnOnce(&Ready) -> Result<T, CaptureError>,
) -> Result<Begun<T>, CaptureError> {
    let about = About { target: server.target().text(), ..about };
    if server.is_up() {
        let ready = server.ready(request.ready, control).await?;
        let prepared = prepare(&ready)?;
        let about = known(about, model_of(&ready), hardware_of(&ready));
        let mut run = create(request, about, control)?;
        say_of_server(&mut run, &ready);
        return Ok(Begun { run, ready, prepared });
    }
    server.must_be_free().await?;
    let model = server.words().as_deref().and_then(named_model).unwrap_or_default();
    let mut run = create(request, known(about, model, String::new()), control)?;
    match start(request, &run, server, control).await {
        Ok(ready) => match prepare(&ready) {
            Ok(prepared) => {
                say_of_server(&mut run, &ready);
                Ok(Begun { run, ready, prepared })
            }
            Err(error) => fail(run, server, control, error).await,
        },
        Err(error) => fail(run, server, control, error).await,
    }
}

/// A run's directory.
pub(crate) fn create(
    request: &RunRequest,
    about: About,
    control: Control<'_>,
) -> Result<RunDir, CaptureError> {
    let run = RunDir::create(&request.output_dir, new_run(request, about))?;
    control.tell(Event::Created(run.path()));
    Ok(run)
}

async fn start(
    request: &RunRequest,
    run: &RunDir,
    server: &mut ServerUnderTest,
    control: Control<'_>,
) -> Result<Ready, CaptureError> {
    server.start(run, &run.logs_dir().join("server.log"), "", control)?;
    server.ready(request.ready, control).await
}

async fn fail<T>(
    mut run: RunDir,
    server: &mut ServerUnderTest,
    control: Control<'_>,
    error: CaptureError,
) -> Result<T, CaptureError> {
    // The first error is the one to tell.
    server.stop(&mut run, control).await.ok();
    finish(&mut run, false, control)?;
    Err(error)
}

/// What is not said otherwise, as the server or its command have it.
fn known(about: About, model: String, hardware: String) -> About {
    let or = |said: String, other| if said.is_empty() { other } else { said };
    About { model: or(about.model, model), hardware: or(about.hardware, hardware), ..about }
}

fn say_of_server(run: &mut RunDir, ready: &Ready) {
    run.manifest.other.insert("server_info".to_owned(), json!(ready.server_info));
}

/// Ends a run: complete if all is well, unless the user ended it.
pub(crate) fn finish(
    run: &mut RunDir,
    is_well: bool,
    control: Control<'_>,
) -> Result<(), CaptureError> {
    let status = match is_well {
        _ if control.is_cancelled() => RunStatus::Interrupted,
        true => RunStatus::Complete,
        false => RunStatus::Failed,
    };
    Ok(run.finish(status, clock::wall())?)
}
