#include <fmt/format.h>

#include <map>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::string image;
    bool no_trunc = false;
    bool quiet = false;
    std::string format = "table";
};

/// How many images stand on each layer.
std::map<DiffId, std::size_t> sharers(Program& program) {
    std::map<DiffId, std::size_t> count;
    for (const ImageRow& row : program.store().catalogue().images()) {
        for (const DiffId& layer : row.layers) ++count[layer];
    }
    return count;
}

std::string shared_text(std::size_t images) { return images <= 1 ? "-" : fmt::format("{} images", images); }

int show_history(Program& program, const Args& args) {
    const auto image = program.images().get(args.image);
    const auto count = sharers(program);
    struct Line {
        std::string step;
        std::optional<LayerRow> layer;
    };
    std::vector<Line> lines;
    std::size_t next = 0;
    for (const History& history : image.image.history) {
        Line line{printable(history.created_by), std::nullopt};
        if (!history.empty_layer && next < image.row.layers.size()) line.layer = program.store().catalogue().layer(image.row.layers[next++]);
        lines.push_back(std::move(line));
    }
    // Images made elsewhere may say less than they hold.
    for (; next < image.row.layers.size(); ++next) lines.push_back({"(no history)", program.store().catalogue().layer(image.row.layers[next])});

    Json items = Json::array();
    Table table({"#", "STEP", "LAYER", "SIZE", "FILES", "SHARED WITH"}, {0, 3, 4});
    for (std::size_t i = lines.size(); i-- > 0;) {
        const Line& line = lines[i];
        Json item = Json::object();
        item.set("number", std::uint64_t{i + 1}).set("created_by", line.step);
        if (line.layer) {
            item.set("layer", line.layer->diff_id.str()).set("content_bytes", line.layer->content_bytes).set("entries", line.layer->entries);
            item.set("images", std::uint64_t{count.at(line.layer->diff_id)});
        }
        items.push_back(std::move(item));
        std::string step = line.step;
        if (!args.no_trunc && step.size() > 60) step = printable(step.substr(0, 59)) + "…";
        table.row({std::to_string(i + 1), step, line.layer ? (args.no_trunc ? line.layer->diff_id.str() : line.layer->diff_id.digest.short_hex()) : "-",
                   line.layer ? human_bytes(line.layer->content_bytes) : "-", line.layer ? std::to_string(line.layer->entries) : "-",
                   line.layer ? shared_text(count.at(line.layer->diff_id)) : "-"});
    }
    if (args.format == "json") {
        print(document(program.store(), "history", std::move(items)).dump(2) + "\n");
    } else {
        table.print();
    }
    return 0;
}

int show_layers(Program& program, const Args& args) {
    const auto count = sharers(program);
    std::vector<LayerRow> rows;
    if (args.image.empty()) {
        rows = program.store().catalogue().layers();
    } else {
        for (const DiffId& layer : program.images().get(args.image).row.layers) rows.push_back(*program.store().catalogue().layer(layer));
    }
    Json items = Json::array();
    Table table({"LAYER", "ADDED", "ARCHIVE", "CONTENT", "FILES", "TOC", "IMAGES"}, {2, 3, 4, 5, 6});
    for (const LayerRow& row : rows) {
        const auto found = count.find(row.diff_id);
        const std::size_t images = found == count.end() ? 0 : found->second;
        if (args.quiet) {
            print(row.diff_id.str() + "\n");
            continue;
        }
        Json item = Json::object();
        item.set("diff_id", row.diff_id.str()).set("archive_bytes", row.archive_bytes).set("content_bytes", row.content_bytes);
        item.set("entries", row.entries).set("toc_bytes", row.toc_bytes).set("added_at", rfc3339(row.added_at)).set("images", std::uint64_t{images});
        items.push_back(std::move(item));
        table.row({args.no_trunc ? row.diff_id.str() : row.diff_id.digest.short_hex(), human_age(row.added_at), human_bytes(row.archive_bytes), human_bytes(row.content_bytes),
                   std::to_string(row.entries), human_bytes(row.toc_bytes), std::to_string(images)});
    }
    if (args.quiet) return 0;
    if (args.format == "json") {
        print(document(program.store(), "layers", std::move(items)).dump(2) + "\n");
    } else {
        table.print();
    }
    return 0;
}

}  // namespace

Verb history_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "history";
    verb.group = "Look";
    verb.synopsis = "history IMAGE";
    verb.summary = "the steps that made an image, newest first, and what each stored";
    verb.declare = [args](Options& options) {
        options.argument("IMAGE", args->image, "name or ID");
        options.flag("--no-trunc", args->no_trunc, "whole steps and digests");
        options.choice("--format", args->format, {"table", "json"}, "how to print");
    };
    verb.run = [args](Program& program) { return show_history(program, *args); };
    return verb;
}

Verb layers_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "layers";
    verb.group = "Look";
    verb.synopsis = "layers [IMAGE]";
    verb.summary = "the layers of an image, bottom first, or of the whole store";
    verb.declare = [args](Options& options) {
        options.argument("IMAGE", args->image, "name or ID", false);
        options.flag("--no-trunc", args->no_trunc, "whole digests");
        options.flag("-q,--quiet", args->quiet, "only digests");
        options.choice("--format", args->format, {"table", "json"}, "how to print");
    };
    verb.run = [args](Program& program) { return show_layers(program, *args); };
    return verb;
}

}  // namespace surcoat::cmd
