#include <fmt/format.h>

#include "cmd/output.h"
#include "cmd/run_status.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "overlay/container.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::vector<std::string> names;
    bool attach = false;
    bool interactive = false;
};

int run(Program& program, const Args& args) {
    overlay::Containers& containers = program.containers();
    if ((args.attach || args.interactive) && args.names.size() != 1) throw Error(Errc::invalid, "start: -a and -i take one container");
    for (const std::string& name : args.names) {
        const ContainerRow row = containers.get(name);
        if (args.attach || args.interactive) {
            try {
                return containers.run_attached(row.id).shell_code();
            } catch (const Error& error) {
                print_error(error);
                return run_failure_status(error, true);
            }
        }
        containers.start_detached(row.id);
        print(name + "\n");
    }
    return 0;
}

}  // namespace

Verb start_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "start";
    verb.group = "Run";
    verb.synopsis = "start [-a] [-i] CONTAINER…";
    verb.summary = "start containers that were created or have ended";
    verb.examples = {{"surcoat start web", "in the background"}, {"surcoat start -ai job", "here, with its input and output"}};
    verb.declare = [args](Options& options) {
        options.flag("-a,--attach", args->attach, "run it here");
        options.flag("-i,--interactive", args->interactive, "with standard input");
        options.arguments("CONTAINER", args->names, "name or ID");
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    verb.needs_mounts = true;
    return verb;
}

}  // namespace surcoat::cmd
