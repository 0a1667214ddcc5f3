#include <fmt/format.h>

#include <chrono>

#include "cmd/container_options.h"
#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "overlay/namespaces.h"

namespace surcoat::cmd {
namespace {

struct Args {
    ContainerOptions container;
    std::int64_t count = 1;
    bool mount = false;
    bool start = false;
    bool quiet = false;
};

/// "web-{i}" → "web-7"; without {i} a number is appended when there are several.
std::string numbered(const std::string& pattern, std::int64_t number, std::int64_t count) {
    if (pattern.empty()) return {};
    const std::size_t at = pattern.find("{i}");
    if (at == std::string::npos) return count == 1 ? pattern : fmt::format("{}-{}", pattern, number);
    return pattern.substr(0, at) + std::to_string(number) + pattern.substr(at + 3);
}

int run(Program& program, const Args& args) {
    if (args.count < 1 || args.count > 1'000'000) throw Error(Errc::invalid, fmt::format("spawn: -n is {}, but must be from 1 to 1000000", args.count));
    if (args.mount && overlay::current_privilege() == overlay::Privilege::none) {
        throw Error(Errc::denied, "spawn --mounted needs root or a user namespace").hint("as a plain user: surcoat unshare sh, then spawn in there");
    }
    if (args.start) overlay::become_namespace_root();
    const auto begin = std::chrono::steady_clock::now();
    const auto image = program.images().get(args.container.image("spawn"));
    const overlay::NewContainer prototype = args.container.make(image);
    std::vector<overlay::NewContainer> wanted;
    for (std::int64_t i = 1; i <= args.count; ++i) {
        wanted.push_back(prototype);
        wanted.back().name = numbered(prototype.name, i, args.count);
    }
    overlay::Containers& containers = program.containers();
    const std::vector<std::string> ids = containers.create(std::move(wanted));
    std::vector<std::string> paths;
    if (args.mount) {
        for (const std::string& id : ids) paths.push_back(containers.mount(id).string());
    }
    if (args.start) {
        for (const std::string& id : ids) containers.start_detached(id);
    }
    const auto took = std::chrono::steady_clock::now() - begin;
    if (args.quiet || args.mount) {
        for (std::size_t i = 0; i < ids.size(); ++i) print(args.mount ? (args.quiet ? paths[i] : ids[i].substr(0, 12) + "  " + paths[i]) + "\n" : ids[i] + "\n");
    }
    if (!args.quiet) {
        std::uint64_t copy = 0;
        const auto tree = program.store().tree(image.row.layers);
        copy = tree->visible_bytes();
        say(fmt::format("{} container{} from {} in {}   as copies {}", ids.size(), ids.size() == 1 ? "" : "s", args.container.image("spawn"),
                        human_duration(took), human_bytes(copy * ids.size())));
    }
    return 0;
}

}  // namespace

Verb spawn_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "spawn";
    verb.group = "Run";
    verb.synopsis = "spawn -n COUNT [OPTIONS] IMAGE [COMMAND…]";
    verb.summary = "make many containers of one image in one go, each with a writable root of its own";
    verb.examples = {{"surcoat spawn -n 100 --name 'web-{i}' shop:1", "a hundred roots, mounted when they are first used"},
                     {"surcoat spawn -n 10 --mounted -q base", "mounted at once; prints where"}};
    verb.declare = [args](Options& options) {
        options.value("-n,--count", args->count, "how many (1)", "COUNT");
        options.flag("--mounted", args->mount, "mount every view now and print where");
        options.flag("--start", args->start, "start each in the background");
        options.flag("-q,--quiet", args->quiet, "print only IDs, or only paths with --mounted");
        args->container.declare(options);
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    return verb;
}

}  // namespace surcoat::cmd
