#include <fmt/format.h>

#include "cmd/container_options.h"
#include "cmd/output.h"
#include "cmd/run_status.h"
#include "cmd/verb.h"
#include "cmd/wire.h"

namespace surcoat::cmd {

int run_failure_status(const Error& error, bool program_was_tried) {
    if (program_was_tried && error.code() == Errc::not_found) return 127;
    if (program_was_tried && error.code() == Errc::denied) return 126;
    return 125;
}

namespace {

struct Args {
    ContainerOptions container;
    bool detach = false;
};

int run(Program& program, const Args& args) {
    bool tried = false;
    try {
        const auto image = program.images().get(args.container.image("run"));
        overlay::NewContainer made = args.container.make(image);
        overlay::Containers& containers = program.containers();
        const std::string id = containers.create({std::move(made)}).front();
        tried = true;
        if (args.detach) {
            containers.start_detached(id);
            print(id + "\n");
            return 0;
        }
        return containers.run_attached(id).shell_code();  // with --rm the container goes by itself, whatever happens
    } catch (const Error& error) {
        print_error(error);
        return run_failure_status(error, tried);
    }
}

}  // namespace

Verb run_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "run";
    verb.group = "Run";
    verb.synopsis = "run [OPTIONS] IMAGE [COMMAND…]";
    verb.summary = "make a container of an image and run a command in it";
    verb.examples = {{"surcoat run --rm -it base sh", "a shell in a throw-away container"},
                     {"surcoat run -d --name web -e PORT=8080 shop:1", "in the background; see `surcoat logs web`"}};
    verb.declare = [args](Options& options) {
        options.flag("-d,--detach", args->detach, "run in the background and print the ID");
        options.flag("--rm", args->container.remove, "remove the container when it ends");
        args->container.declare(options);
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    verb.needs_mounts = true;
    return verb;
}

}  // namespace surcoat::cmd
