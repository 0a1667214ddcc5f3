#include <fmt/format.h>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/store/usage.h"
#include "overlay/container.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

struct Args {
    bool verbose = false;
    bool verify = false;
    std::string format = "table";
};

Json to_json(const StoreUsage& usage) {
    Json item = Json::object();
    item.set("objects_bytes", usage.objects).set("layers_bytes", usage.layers).set("views_bytes", usage.views).set("blobs_bytes", usage.blobs);
    item.set("containers_bytes", usage.containers).set("catalogue_bytes", usage.catalogue).set("staging_bytes", usage.staging).set("other_bytes", usage.other);
    item.set("total_bytes", usage.total).set("inodes", usage.inodes);
    item.set("images_as_copies_bytes", usage.images_as_copies).set("images_sharing_layers_bytes", usage.images_sharing_layers);
    item.set("containers_as_copies_bytes", usage.containers_as_copies);
    item.set("image_count", usage.image_count).set("layer_count", usage.layer_count).set("object_count", usage.object_count).set("container_count", usage.container_count);
    item.set("reclaimable_bytes", usage.reclaimable);
    return item;
}

void print_images(Program& program) {
    Table table({"IMAGE", "SIZE", "SHARED", "UNIQUE", "FAIR", "CONTAINERS"}, {1, 2, 3, 4, 5});
    double fair = 0;
    for (const ImageUsage& one : image_usage(program.store())) {
        const auto names = program.store().catalogue().names_of(one.image);
        fair += one.fair;
        table.row({names.empty() ? one.image.short_hex() : registry::Reference::parse(names.front().name).familiar(), human_bytes(one.size), human_bytes(one.size - one.unique),
                   human_bytes(one.unique), human_bytes(static_cast<std::uint64_t>(one.fair + 0.5)), std::to_string(one.containers)});
    }
    table.row({"sum", "", "", "", human_bytes(static_cast<std::uint64_t>(fair + 0.5)), ""});
    table.print();
    print("\n");
    Table containers({"CONTAINER", "OWN", "SHARED"}, {1, 2});
    for (const ContainerUsage& one : container_usage(program.store(), true)) {
        const auto row = program.store().catalogue().container_by_id(one.id);
        containers.row({row ? row->name : one.id.substr(0, 12), human_bytes(one.own), human_bytes(one.shared)});
    }
    containers.print();
    print("\n");
}

int run(Program& program, const Args& args) {
    Store& store = program.store();
    const StoreUsage usage = store_usage(store);
    const std::uint64_t image_bytes = usage.objects + usage.layers + usage.views + usage.blobs;
    if (args.format == "json") {
        Json items = Json::array();
        items.push_back(to_json(usage));
        print(document(store, "df", std::move(items)).dump(2) + "\n");
    } else {
        if (args.verbose) print_images(program);
        Table table({"", "COUNT", "IF COPIED", "ON DISK", "SAVED"}, {1, 2, 3, 4});
        table.row({"images", std::to_string(usage.image_count), human_bytes(usage.images_as_copies), human_bytes(image_bytes), saved_percent(usage.images_as_copies, image_bytes)});
        table.row({"  sharing layers only", "", human_bytes(usage.images_sharing_layers), "", ""});
        table.row({"  file contents", std::to_string(usage.object_count), "", human_bytes(usage.objects), ""});
        table.row({"  layer tables", std::to_string(usage.layer_count), "", human_bytes(usage.layers), ""});
        table.row({"  views", "", "", human_bytes(usage.views), ""});
        table.row({"  manifests, kept blobs", "", "", human_bytes(usage.blobs), ""});
        table.row({"containers", std::to_string(usage.container_count), human_bytes(usage.containers_as_copies), human_bytes(usage.containers),
                   saved_percent(usage.containers_as_copies, usage.containers)});
        table.row({"catalogue", "", "", human_bytes(usage.catalogue), ""});
        table.row({"in progress", "", "", human_bytes(usage.staging), ""});
        table.row({"directories, locks", "", "", human_bytes(usage.other), ""});
        const std::uint64_t copies = usage.images_as_copies + usage.containers_as_copies;
        table.row({"store", "", human_bytes(copies), human_bytes(usage.total), saved_percent(copies, usage.total)});
        table.print();
        print(fmt::format("\nreclaimable now {}{}\n", human_bytes(usage.reclaimable), usage.reclaimable != 0 ? ": surcoat gc" : ""));
    }
    // Measured again on its own, by walking the disk: a figure that cannot be checked is worth little.
    const DiskUsage disk = directory_usage(store.root());
    if (args.format != "json") {
        print(fmt::format("total {} bytes; `du -B1 -s {}` says {}: {}\n", usage.total, store.root().string(), disk.bytes,
                          usage.total == disk.bytes ? "equal" : "NOT EQUAL"));
    }
    if (args.verify && usage.total != disk.bytes) {
        throw Error(Errc::policy, fmt::format("df counts {} bytes, but the disk holds {}", usage.total, disk.bytes)).hint("another process may be writing; else run `surcoat fsck`");
    }
    return 0;
}

}  // namespace

Verb df_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "df";
    verb.group = "Measure";
    verb.synopsis = "df [-v] [--verify]";
    verb.summary = "what is on disk, what separate copies would take, and what sharing saved";
    verb.examples = {{"surcoat df -v", "with each image and container"}, {"surcoat df --verify", "exit status 3 unless the sum equals the disk"}};
    verb.declare = [args](Options& options) {
        options.flag("-v,--verbose", args->verbose, "each image and container");
        options.flag("--verify", args->verify, "fail unless the total equals what lies on disk");
        options.choice("--format", args->format, {"table", "json"}, "how to print");
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    return verb;
}

}  // namespace surcoat::cmd
