#pragma once

/// One function per command: it adds the command to the program, parses, calls the library,
/// reports. `exit_code` is set by the command that ran (docs/running.md lists the codes).

namespace CLI {
class App;
}

namespace droidflow {

void AddMetadataCommand(CLI::App& app, int& exit_code);
void AddFullCommand(CLI::App& app, int& exit_code);
void AddTracksCommands(CLI::App& app, int& exit_code);  ///< tracks and intrinsics
void AddDepthCommand(CLI::App& app, int& exit_code);
void AddDepthEvalCommand(CLI::App& app, int& exit_code);
void AddEpisodesCommand(CLI::App& app, int& exit_code);
void AddAvailabilityCommand(CLI::App& app, int& exit_code);
void AddFetchCommand(CLI::App& app, int& exit_code);
void AddHubCommand(CLI::App& app, int& exit_code);  ///< ls, verify and card
void AddStatusCommand(CLI::App& app, int& exit_code);
void AddVerifyCommand(CLI::App& app, int& exit_code);
void AddSynthCommand(CLI::App& app, int& exit_code);
void AddInspectCommand(CLI::App& app, int& exit_code);
void AddDepthPreviewCommand(CLI::App& app, int& exit_code);
void AddRenderCommand(CLI::App& app, int& exit_code);
void AddReportCommand(CLI::App& app, int& exit_code);
void AddCheckCommand(CLI::App& app, int& exit_code);
void AddViewCommand(CLI::App& app, int& exit_code);
void AddDiffCommand(CLI::App& app, int& exit_code);
void AddConvertCommand(CLI::App& app, int& exit_code);
void AddStatsCommand(CLI::App& app, int& exit_code);
void AddIndexCommand(CLI::App& app, int& exit_code);
void AddExportCommand(CLI::App& app, int& exit_code);
void AddExplainCommand(CLI::App& app, int& exit_code);
void AddDoctorCommand(CLI::App& app, int& exit_code);
void AddUploadCommand(CLI::App& app, int& exit_code);
void AddSlurmCommand(CLI::App& app, int& exit_code);
void AddSlurmJobCommands(CLI::App& slurm, int& exit_code);  ///< what its jobs call
void AddCompletionCommands(CLI::App& app);  ///< completion and man, which the help leaves out

}  // namespace droidflow
