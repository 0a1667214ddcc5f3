#pragma once
#include "layers/base/error.h"

namespace surcoat::cmd {

/// docker's exit statuses for what kept a command from running: 127 no such program, 126 it cannot be
/// executed, 125 anything else. `program_was_tried`: the container was there, so "not found" means the program.
int run_failure_status(const Error& error, bool program_was_tried);

}  // namespace surcoat::cmd
