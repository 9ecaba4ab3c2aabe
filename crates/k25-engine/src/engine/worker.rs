//! The engine's thread, and the handle through which others reach it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Engine, Snapshot};
use crate::request::{Event, EventSink, Request, RequestId};
use crate::runner::ModelRunner;

/// Reaches an engine on its thread. Commands take effect between two steps.
///
/// When all handles are gone, the thread serves the open requests to their end and returns.
pub struct EngineHandle<R> {
    commands: Sender<Command<R>>,
    next_id: Arc<AtomicU64>,
    snapshot: Arc<Mutex<Snapshot>>,
}

/// The engine's thread has ended, by a panic in the runner or in an event sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine has stopped\n  hint: its thread panicked; the message is on standard error")]
pub struct EngineStopped;

enum Command<R> {
    Submit(RequestId, Box<Request>, EventSink),
    Cancel(RequestId),
    Call(Call<R>),
}

type Call<R> = Box<dyn FnOnce(&mut Engine<R>) + Send>;

/// Runs `engine` on a thread of its own; the error is the system's, which gave no thread.
pub fn spawn<R>(engine: Engine<R>) -> io::Result<(EngineHandle<R>, JoinHandle<()>)>
where
    R: ModelRunner + Send + 'static,
{
    let (commands, inbox) = mpsc::channel();
    let next_id = Arc::clone(&engine.next_id);
    let snapshot = Arc::new(Mutex::new(engine.snapshot()));
    let published = Arc::clone(&snapshot);
    let thread = thread::Builder::new()
        .name("k25-engine".to_owned())
        .spawn(move || serve(engine, &inbox, &published))?;
    let handle = EngineHandle {
        commands,
        next_id,
        snapshot,
    };
    Ok((handle, thread))
}

fn serve<R: ModelRunner>(
    mut engine: Engine<R>,
    inbox: &Receiver<Command<R>>,
    published: &Mutex<Snapshot>,
) {
    loop {
        if engine.is_idle() {
            match inbox.recv() {
                Ok(command) => obey(&mut engine, command),
                Err(mpsc::RecvError) => return,
            }
        }
        while let Ok(command) = inbox.try_recv() {
            obey(&mut engine, command);
        }
        engine.step();
        *published.lock().unwrap_or_else(PoisonError::into_inner) = engine.snapshot();
    }
}

fn obey<R: ModelRunner>(engine: &mut Engine<R>, command: Command<R>) {
    match command {
        Command::Submit(id, request, events) => {
            if let Err((error, mut events)) = engine.admit(id, *request, events) {
                events(Event::Rejected(error));
            }
        }
        Command::Cancel(id) => engine.cancel(id),
        Command::Call(call) => call(engine),
    }
}

impl<R> EngineHandle<R> {
    /// Hands a request over. Whether it is accepted is its first event.
    pub fn submit(&self, request: Request, events: EventSink) -> Result<RequestId, EngineStopped> {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.send(Command::Submit(id, Box::new(request), events))?;
        Ok(id)
    }

    /// Cancels a request; nothing happens where it has ended.
    pub fn cancel(&self, id: RequestId) -> Result<(), EngineStopped> {
        self.send(Command::Cancel(id))
    }

    /// Calls `call` with the engine between two steps and returns what it returned.
    pub fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Engine<R>) -> T + Send + 'static,
    ) -> Result<T, EngineStopped> {
        let (answer, answered) = mpsc::channel();
        self.send(Command::Call(Box::new(move |engine| {
            // Nobody waits for the answer any more: nothing to do about that.
            let _ = answer.send(call(engine));
        })))?;
        answered.recv().map_err(|_| EngineStopped)
    }

    /// What the engine was doing after its last step; never waits for one.
    pub fn snapshot(&self) -> Snapshot {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, command: Command<R>) -> Result<(), EngineStopped> {
        self.commands.send(command).map_err(|_| EngineStopped)
    }
}

impl<R> Clone for EngineHandle<R> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            next_id: Arc::clone(&self.next_id),
            snapshot: Arc::clone(&self.snapshot),
        }
    }
}
