#pragma once

/// Asking a process to stop: SIGINT and SIGTERM set a flag and wake a poll().

namespace droidflow {

/// Installs handlers for SIGINT and SIGTERM. Call once, early, from the thread that owns the run.
void InstallStopHandlers();

/// After fork, in the new process: signals that it gets no longer wake the old one.
void OwnStopHandlers();

/// Gives SIGINT and SIGTERM to nobody (a worker's: its coordinator decides) in this process.
void IgnoreStopSignals();

/// The signal that asked to stop, or 0.
[[nodiscard]] int StopSignal();

/// Readable once a stop was asked for; for poll(). -1 before InstallStopHandlers.
[[nodiscard]] int StopFd();

}  // namespace droidflow
