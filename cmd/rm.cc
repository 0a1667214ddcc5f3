#include <fmt/format.h>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "overlay/container.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::vector<std::string> names;
    bool force = false;
    bool all = false;
};

/// Does it for each; says what failed and goes on; the first failure's error ends the verb.
template <typename Each>
int for_each_name(const std::vector<std::string>& names, Each each) {
    std::optional<Error> first;
    for (const std::string& name : names) {
        try {
            each(name);
        } catch (const Error& error) {
            if (first) {
                print_error(error);
            } else {
                first = error;
            }
        }
    }
    if (first) throw *first;
    return 0;
}

}  // namespace

Verb rm_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "rm";
    verb.group = "Run";
    verb.synopsis = "rm [-f] CONTAINER…   or   rm -a";
    verb.summary = "remove containers";
    verb.examples = {{"surcoat rm -f web", "end it first if it runs"}, {"surcoat rm -a", "all that do not run"}};
    verb.declare = [args](Options& options) {
        options.flag("-f,--force", args->force, "end running ones first");
        options.flag("-a,--all", args->all, "every container (without -f: every one that does not run)");
        options.arguments("CONTAINER", args->names, "name or ID", false);
    };
    verb.run = [args](Program& program) {
        overlay::Containers& containers = program.containers();
        std::vector<std::string> names = args->names;
        if (args->all) {
            if (!names.empty()) throw Error(Errc::invalid, "rm: both -a and names are given");
            for (const ContainerRow& row : containers.list()) {
                if (args->force || row.state != "running") names.push_back(row.id);
            }
            containers.remove(names, args->force);  // in one transaction
            for (const std::string& id : names) print(id.substr(0, 12) + "\n");
            return 0;
        } else if (names.empty()) {
            throw Error(Errc::invalid, "rm: name a container, or -a for all");
        }
        return for_each_name(names, [&](const std::string& name) {
            containers.remove(containers.get(name).id, args->force);
            if (!program.settings().quiet) print(name + "\n");
        });
    };
    verb.needs_mounts = true;
    return verb;
}

Verb rmi_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "rmi";
    verb.group = "System";
    verb.synopsis = "rmi [-f] IMAGE…";
    verb.summary = "remove images; `surcoat gc` then frees their space";
    verb.declare = [args](Options& options) {
        options.flag("-f,--force", args->force, "also while containers use it (they keep what they need)");
        options.flag("-a,--all", args->all, "every image");
        options.arguments("IMAGE", args->names, "name or ID", false);
    };
    verb.run = [args](Program& program) {
        std::vector<std::string> names = args->names;
        if (args->all) {
            for (const auto& image : program.images().list()) names.push_back(image.row.id.str());
        } else if (names.empty()) {
            throw Error(Errc::invalid, "rmi: name an image, or -a for all");
        }
        const int status = for_each_name(names, [&](const std::string& name) {
            for (const std::string& line : program.images().remove(name, args->force)) print(line + "\n");
        });
        program.images().write_layout_index();
        return status;
    };
    return verb;
}

}  // namespace surcoat::cmd
