#include <fmt/format.h>

#include <map>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/store/usage.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::string filter;
    bool quiet = false;
    bool digests = false;
    bool no_trunc = false;
    bool all = false;
    std::string format = "table";
};

int run(Program& program, const Args& args) {
    Store& store = program.store();
    std::vector<registry::StoredImage> images;
    std::map<Digest, std::vector<std::string>> names;
    std::map<Digest, ImageUsage> usage;
    store.catalogue().snapshot([&] {
        images = program.images().list();
        for (const NameRow& row : store.catalogue().names()) names[row.image].push_back(registry::Reference::parse(row.name).familiar());
        for (ImageUsage& one : image_usage(store)) usage.emplace(one.image, one);
    });
    const auto wanted = [&](const std::string& name) {
        return args.filter.empty() || name == args.filter || name.starts_with(args.filter + ":");
    };
    Json items = Json::array();
    std::vector<std::string> headings = {"IMAGE", "ID", "CREATED", "SIZE", "SHARED", "UNIQUE", "FAIR", "USED BY"};
    if (args.digests) headings.insert(headings.begin() + 2, "DIGEST");
    const std::size_t at = args.digests ? 4 : 3;
    Table table(headings, {at, at + 1, at + 2, at + 3});
    for (const auto& image : images) {
        std::vector<std::string> named = names[image.row.id];
        if (named.empty()) named.emplace_back("<none>");
        const ImageUsage& used = usage.at(image.row.id);
        for (const std::string& name : named) {
            if (!wanted(name)) continue;
            if (args.quiet) {
                print((args.no_trunc ? image.row.id.str() : image.row.id.short_hex()) + "\n");
                break;
            }
            const std::uint64_t fair = static_cast<std::uint64_t>(used.fair + 0.5);
            Json item = Json::object();
            item.set("name", name).set("id", image.row.id.str()).set("manifest", image.row.manifest.str());
            if (image.image.created) item.set("created_at", *image.image.created);
            item.set("added_at", rfc3339(image.row.added_at)).set("layers", std::uint64_t{image.row.layers.size()});
            item.set("size_bytes", used.size).set("shared_bytes", used.size - used.unique).set("unique_bytes", used.unique);
            item.set("fair_bytes", fair).set("visible_bytes", used.visible_bytes).set("containers", used.containers);
            items.push_back(std::move(item));
            std::vector<std::string> cells = {name, args.no_trunc ? image.row.id.str() : image.row.id.short_hex(), human_age(image.row.added_at), human_bytes(used.size),
                                              human_bytes(used.size - used.unique), human_bytes(used.unique), human_bytes(fair),
                                              used.containers == 0 ? "-" : fmt::format("{} container{}", used.containers, used.containers == 1 ? "" : "s")};
            if (args.digests) cells.insert(cells.begin() + 2, image.row.manifest.str());
            table.row(std::move(cells));
        }
    }
    if (args.quiet) return 0;
    if (args.format == "json") {
        print(document(store, "images", std::move(items)).dump(2) + "\n");
    } else {
        table.print();
    }
    return 0;
}

}  // namespace

Verb images_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "images";
    verb.group = "Look";
    verb.synopsis = "images [NAME]";
    verb.summary = "list images: what each takes, shares, and would free";
    verb.examples = {{"surcoat images", "SIZE: its files on disk; UNIQUE: freed if only it goes; FAIR: its share, sums to the total"}};
    verb.declare = [args](Options& options) {
        options.argument("NAME", args->filter, "only this repository or image", false);
        options.flag("-a,--all", args->all, "docker's option; all are always shown");
        options.flag("-q,--quiet", args->quiet, "only IDs");
        options.flag("--digests", args->digests, "with manifest digests");
        options.flag("--no-trunc", args->no_trunc, "whole IDs");
        options.choice("--format", args->format, {"table", "json"}, "how to print");
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    return verb;
}

Verb tag_verb() {
    struct Names {
        std::string from;
        std::string to;
    };
    auto args = std::make_shared<Names>();
    Verb verb;
    verb.name = "tag";
    verb.group = "Build";
    verb.synopsis = "tag IMAGE NAME";
    verb.summary = "give an image one more name";
    verb.declare = [args](Options& options) {
        options.argument("IMAGE", args->from, "name or ID");
        options.argument("NAME", args->to, "the new name");
    };
    verb.run = [args](Program& program) {
        program.images().tag(args->from, args->to);
        program.images().write_layout_index();
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
