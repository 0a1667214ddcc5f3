#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "overlay/container.h"

namespace surcoat::cmd {

Verb stop_verb() {
    struct Args {
        std::vector<std::string> names;
        std::optional<std::int64_t> timeout;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "stop";
    verb.group = "Run";
    verb.synopsis = "stop [-t SECONDS] CONTAINER…";
    verb.summary = "ask running containers to end, and kill those that do not";
    verb.examples = {{"surcoat stop web", "its stop signal, then SIGKILL after its timeout"}};
    verb.declare = [args](Options& options) {
        options.value("-t,--time", args->timeout, "seconds before it is killed", "SECONDS");
        options.arguments("CONTAINER", args->names, "name or ID");
    };
    verb.run = [args](Program& program) {
        for (const std::string& name : args->names) {
            std::optional<std::chrono::seconds> timeout;
            if (args->timeout) timeout = std::chrono::seconds(*args->timeout);
            program.containers().stop(program.containers().get(name).id, timeout);
            print(name + "\n");
        }
        return 0;
    };
    return verb;
}

Verb kill_verb() {
    struct Args {
        std::vector<std::string> names;
        std::string signal = "KILL";
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "kill";
    verb.group = "Run";
    verb.synopsis = "kill [-s SIGNAL] CONTAINER…";
    verb.summary = "send running containers a signal";
    verb.examples = {{"surcoat kill -s HUP web", "have it read its configuration again"}};
    verb.declare = [args](Options& options) {
        options.value("-s,--signal", args->signal, "name or number (KILL)", "SIGNAL");
        options.arguments("CONTAINER", args->names, "name or ID");
    };
    verb.run = [args](Program& program) {
        const int signal = overlay::parse_signal(args->signal);
        for (const std::string& name : args->names) {
            program.containers().kill(program.containers().get(name).id, signal);
            print(name + "\n");
        }
        return 0;
    };
    return verb;
}

Verb wait_verb() {
    auto names = std::make_shared<std::vector<std::string>>();
    Verb verb;
    verb.name = "wait";
    verb.group = "Run";
    verb.synopsis = "wait CONTAINER…";
    verb.summary = "wait until containers have ended and print their exit codes";
    verb.declare = [names](Options& options) { options.arguments("CONTAINER", *names, "name or ID"); };
    verb.run = [names](Program& program) {
        for (const std::string& name : *names) print(std::to_string(program.containers().wait(program.containers().get(name).id)) + "\n");
        return 0;
    };
    return verb;
}

Verb logs_verb() {
    struct Args {
        std::string name;
        bool follow = false;
        std::optional<std::int64_t> tail;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "logs";
    verb.group = "Run";
    verb.synopsis = "logs [-f] [--tail N] CONTAINER";
    verb.summary = "what a background container has printed";
    verb.declare = [args](Options& options) {
        options.flag("-f,--follow", args->follow, "go on until it ends");
        options.value("-n,--tail", args->tail, "only the last lines", "N");
        options.argument("CONTAINER", args->name, "name or ID");
    };
    verb.run = [args](Program& program) {
        std::optional<std::size_t> tail;
        if (args->tail) tail = static_cast<std::size_t>(std::max<std::int64_t>(0, *args->tail));
        program.containers().logs(program.containers().get(args->name).id, 1, 2, args->follow, tail);
        return 0;
    };
    return verb;
}

Verb rename_verb() {
    struct Args {
        std::string from;
        std::string to;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "rename";
    verb.group = "Run";
    verb.synopsis = "rename CONTAINER NAME";
    verb.summary = "give a container another name";
    verb.declare = [args](Options& options) {
        options.argument("CONTAINER", args->from, "name or ID");
        options.argument("NAME", args->to, "the new name");
    };
    verb.run = [args](Program& program) {
        program.containers().rename(program.containers().get(args->from).id, args->to);
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
