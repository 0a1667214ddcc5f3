#pragma once

namespace surcoat::cmd {

/// The whole program: parses the command line, runs the verb, prints errors, returns the exit status
/// (README.md of this folder, "Exit statuses").
int run_program(int argc, char** argv);

}  // namespace surcoat::cmd
