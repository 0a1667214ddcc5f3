#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cmd/options.h"

namespace surcoat::cmd {

class Program;

/// One verb of the program: what help says, what it takes, what it does.
struct Verb {
    std::string name;
    std::string group;    ///< heading in the overview: Build, Run, Look, Measure, Move, System
    std::string synopsis; ///< "build [OPTIONS] DIRECTORY"
    std::string summary;  ///< one line
    std::vector<std::pair<std::string, std::string>> examples;  ///< command, what it does
    std::function<void(Options&)> declare;
    /// Returns the exit status. Throws Error, which main prints.
    std::function<int(Program&)> run;
    /// Mounts or runs: a plain user then enters a user namespace first.
    bool needs_mounts = false;
    std::vector<std::string> aliases = {};
};

/// Every verb, in the order of the overview. Each is written in the file of its name.
std::vector<Verb> all_verbs();

Verb build_verb();
Verb cat_verb();
Verb commit_verb();
Verb cp_verb();
Verb create_verb();
Verb df_verb();
Verb diff_verb();
Verb exec_verb();
Verb export_verb();
Verb fsck_verb();
Verb gc_verb();
Verb history_verb();
Verb images_verb();
Verb import_verb();
Verb inspect_verb();
Verb kill_verb();
Verb layers_verb();
Verb load_verb();
Verb logs_verb();
Verb ls_verb();
Verb mount_verb();
Verb ps_verb();
Verb rename_verb();
Verb rm_verb();
Verb rmi_verb();
Verb run_verb();
Verb save_verb();
Verb spawn_verb();
Verb start_verb();
Verb stop_verb();
Verb tag_verb();
Verb umount_verb();
Verb unshare_verb();
Verb version_verb();
Verb wait_verb();

}  // namespace surcoat::cmd
