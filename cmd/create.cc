#include "cmd/container_options.h"
#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"

namespace surcoat::cmd {

Verb create_verb() {
    auto args = std::make_shared<ContainerOptions>();
    Verb verb;
    verb.name = "create";
    verb.group = "Run";
    verb.synopsis = "create [OPTIONS] IMAGE [COMMAND…]";
    verb.summary = "make a container without starting it";
    verb.examples = {{"surcoat create --name job base sh -c 'date > /now'", "start it later: surcoat start -a job"}};
    verb.declare = [args](Options& options) {
        options.flag("--rm", args->remove, "remove the container when it ends");
        args->declare(options);
    };
    verb.run = [args](Program& program) {
        const auto image = program.images().get(args->image("create"));
        print(program.containers().create({args->make(image)}).front() + "\n");
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
