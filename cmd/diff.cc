#include "layers/diff.h"

#include <fmt/format.h>

#include "cmd/container_files.h"
#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "overlay/container.h"

namespace surcoat::cmd {

Verb diff_verb() {
    struct Args {
        std::string first;
        std::string second;
        std::string format = "table";
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "diff";
    verb.group = "Look";
    verb.synopsis = "diff CONTAINER   or   diff A B";
    verb.summary = "what a container changed (A added, C changed, D deleted), or how two roots differ, by content";
    verb.examples = {{"surcoat diff web", "against its image"}, {"surcoat diff shop:1 shop:2", "two images, or an image and a container"}};
    verb.declare = [args](Options& options) {
        options.argument("A", args->first, "container (or image, with B)");
        options.argument("B", args->second, "container or image", false);
        options.choice("--format", args->format, {"table", "json"}, "how to print");
    };
    verb.run = [args](Program& program) {
        Tree before;
        Tree after;
        if (args->second.empty()) {
            const ContainerRow row = program.containers().get(args->first);
            before = *program.store().tree(row.layers);
            after = tree_of(program, row.id);
        } else {
            before = tree_of(program, args->first);
            after = tree_of(program, args->second);
        }
        Json items = Json::array();
        for (const Change& change : list_changes(before, after)) {
            const std::string kind(1, static_cast<char>(change.kind));
            if (args->format == "json") {
                Json item = Json::object();
                item.set("kind", kind).set("path", change.path);
                items.push_back(std::move(item));
            } else {
                print(kind + " " + printable(change.path) + "\n");
            }
        }
        if (args->format == "json") print(document(program.store(), "diff", std::move(items)).dump(2) + "\n");
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
