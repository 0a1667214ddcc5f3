#include <fmt/format.h>

#include <filesystem>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "registry/transport.h"

namespace surcoat::cmd {
namespace {

struct SaveArgs {
    std::vector<std::string> images;
    std::string output = "-";
    std::string format;
    std::string compression = "none";
};

registry::ArchiveFormat chosen_format(const SaveArgs& args) {
    if (!args.format.empty()) {
        if (const auto format = registry::parse_archive_format(args.format)) return *format;
        throw Error(Errc::invalid, fmt::format("save: --format '{}' is not known", args.format)).hint("docker-archive, oci-archive or oci-dir");
    }
    return args.output != "-" && std::filesystem::is_directory(args.output) ? registry::ArchiveFormat::oci_directory : registry::ArchiveFormat::docker_archive;
}

int save(Program& program, const SaveArgs& args) {
    registry::SaveOptions options;
    options.format = chosen_format(args);
    options.compression = args.compression == "gzip" ? Compression::gzip : args.compression == "zstd" ? Compression::zstd : Compression::none;
    options.progress = &program.progress();
    std::vector<std::string> lines;
    if (options.format == registry::ArchiveFormat::oci_directory) {
        if (args.output == "-") throw Error(Errc::invalid, "save: an OCI directory needs -o DIRECTORY");
        lines = registry::save_images(program.store(), args.images, options, args.output);
    } else {
        write_output(args.output, "save", [&](ByteSink& sink) { lines = registry::save_images(program.store(), args.images, options, sink); });
    }
    if (!program.settings().quiet) {
        for (const std::string& line : lines) say(line);
    }
    return 0;
}

}  // namespace

Verb save_verb() {
    auto args = std::make_shared<SaveArgs>();
    Verb verb;
    verb.name = "save";
    verb.group = "Move";
    verb.synopsis = "save [-o FILE|DIRECTORY] [--format FORMAT] IMAGE…";
    verb.summary = "write images as an archive that docker, podman, skopeo and umoci read";
    verb.examples = {{"surcoat save -o shop.tar shop:1", "a docker archive, which is an OCI archive too"},
                     {"surcoat save --format oci-dir -o layout shop:1", "an OCI layout: skopeo inspect oci:layout:shop:1"}};
    verb.declare = [args](Options& options) {
        options.value("-o,--output", args->output, "where to (default: standard output)", "FILE");
        options.value("--format", args->format, "docker-archive, oci-archive, oci-dir", "FORMAT");
        options.choice("--compress", args->compression, {"none", "gzip", "zstd"}, "for layers that are not kept compressed; changes the manifest's digest");
        options.arguments("IMAGE", args->images, "name or ID");
    };
    verb.run = [args](Program& program) { return save(program, *args); };
    return verb;
}

Verb load_verb() {
    struct Args {
        std::string input = "-";
        bool quiet = false;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "load";
    verb.group = "Move";
    verb.synopsis = "load [-i FILE|DIRECTORY]";
    verb.summary = "read images from an OCI layout or a docker archive, verifying every byte";
    verb.examples = {{"surcoat load -i shop.tar", "what save, docker save, podman save or skopeo wrote"}};
    verb.declare = [args](Options& options) {
        options.value("-i,--input", args->input, "an archive (also compressed) or a layout directory (default: standard input)", "FILE");
        options.flag("-q,--quiet", args->quiet, "print only IDs");
    };
    verb.run = [args](Program& program) {
        for (const auto& loaded : registry::load_images(program.store(), args->input, program.progress())) {
            if (args->quiet || loaded.names.empty()) {
                print((args->quiet ? "" : "Loaded image ID: ") + loaded.id.str() + "\n");
            } else {
                for (const std::string& name : loaded.names) print(fmt::format("Loaded image: {}\n", name));
            }
        }
        program.images().write_layout_index();
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
