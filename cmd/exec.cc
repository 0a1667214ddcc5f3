#include <fmt/format.h>

#include "cmd/container_options.h"
#include "cmd/output.h"
#include "cmd/run_status.h"
#include "cmd/verb.h"
#include "cmd/wire.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::vector<std::string> words;
    std::vector<std::string> env;
    std::optional<std::string> user;
    std::optional<std::string> working_dir;
    bool interactive = false;
    bool tty = false;
};

int run(Program& program, const Args& args) {
    if (args.words.size() < 2) throw Error(Errc::invalid, "exec: name a container and a command").hint("usage: surcoat exec [OPTIONS] CONTAINER COMMAND…");
    bool tried = false;
    try {
        overlay::Containers& containers = program.containers();
        const ContainerRow row = containers.get(args.words[0]);
        const auto container = overlay::ContainerSpec::from_json(row.spec);
        overlay::ExecSpec spec;
        spec.args.assign(args.words.begin() + 1, args.words.end());
        spec.env = container.env;
        for (const std::string& item : args.env) {
            if (auto variable = environment_item(item)) spec.env.push_back(std::move(*variable));
        }
        spec.user = args.user.value_or(container.user);
        spec.working_dir = args.working_dir.value_or(container.working_dir);
        spec.tty = args.tty;
        tried = true;
        return containers.exec(row.id, spec).shell_code();
    } catch (const Error& error) {
        print_error(error);
        return run_failure_status(error, tried);
    }
}

}  // namespace

Verb exec_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "exec";
    verb.group = "Run";
    verb.synopsis = "exec [OPTIONS] CONTAINER COMMAND…";
    verb.summary = "run one more command in a running container";
    verb.examples = {{"surcoat exec web ps", "see what runs in it"}, {"surcoat exec -it web sh", "a shell in it"}};
    verb.declare = [args](Options& options) {
        options.list("-e,--env", args->env, "a variable more", "NAME=VALUE");
        options.value("-u,--user", args->user, "who to run as", "USER[:GROUP]");
        options.value("-w,--workdir", args->working_dir, "the directory to run in", "PATH");
        options.flag("-i,--interactive", args->interactive, "keep standard input open (it always is)");
        options.flag("-t,--tty", args->tty, "give it a terminal");
        options.rest("CONTAINER COMMAND…", args->words, "the container, then the command");
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    // Not in a namespace of our own: a plain user joins the container's, and siblings cannot join each other.
    return verb;
}

}  // namespace surcoat::cmd
