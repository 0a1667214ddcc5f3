#include <fcntl.h>
#include <fmt/format.h>

#include <chrono>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/base/file.h"
#include "layers/import/host_slice.h"
#include "layers/import/rootfs_source.h"
#include "layers/store/transaction.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::vector<std::string> words;
    std::vector<std::string> host;
    std::string tag;
    std::string message;
    bool quiet = false;
};

/// What an import brought, whatever it came from.
struct Imported {
    DiffId layer;
    std::optional<Timestamp> newest;
    std::string created_by;
};

Imported import_archive(Program& program, Transaction& transaction, const std::string& source) {
    Transaction::ImportOptions options;
    options.progress = &program.progress();
    options.base = true;
    options.what = source == "-" ? "standard input" : fmt::format("'{}'", source);
    const UniqueFd opened = source == "-" ? UniqueFd() : open_file(source, O_RDONLY);
    FdSource bytes(source == "-" ? STDIN_FILENO : opened.get());
    const auto imported = transaction.import_layer(bytes, options);
    return {imported.diff_id, imported.newest, "import " + source};
}

int run(Program& program, const Args& args) {
    std::vector<std::string> words = args.words;
    std::string name = args.tag;
    if (args.host.empty()) {
        // docker's form: import FILE|- [NAME]
        if (words.empty()) throw Error(Errc::invalid, "import: say what: a tar file, a directory, - or --host PROGRAM…").hint("surcoat help import");
        if (words.size() > 2) throw Error(Errc::invalid, fmt::format("import: unexpected '{}'", words[2]));
        if (words.size() == 2) {
            if (!name.empty()) throw Error(Errc::invalid, fmt::format("import: two names are given, '{}' and '{}'", name, words[1]));
            name = words[1];
        }
    } else if (!words.empty()) {
        throw Error(Errc::invalid, fmt::format("import: both --host and '{}' are given", words[0]));
    }
    std::optional<registry::Reference> reference;
    if (!name.empty()) reference = registry::Reference::parse(name).with_default_tag();

    const auto begin = std::chrono::steady_clock::now();
    Store& store = program.store();
    Transaction transaction(store, "import " + name);
    std::optional<Imported> imported;
    std::string note;
    if (!args.host.empty()) {
        const HostSlice slice = collect_host_slice(args.host);
        const auto layer = import_host_slice(transaction, slice, &program.progress());
        imported = Imported{layer.diff_id, layer.newest, fmt::format("import --host {}", fmt::join(args.host, " "))};
        for (const std::string& warning : slice.warnings) program.progress().warning(printable(warning));
        note = "from this machine";
    } else if (words[0] != "-" && std::filesystem::is_directory(words[0])) {
        const auto layer = import_directory(transaction, words[0], {.cross_filesystems = false, .latest = {}, .progress = &program.progress()});
        imported = Imported{layer.diff_id, layer.newest, "import " + words[0]};
    } else {
        imported = import_archive(program, transaction, words[0]);
    }

    Image image;
    image.platform = Platform::host();
    // The newest file's time, not now: importing the same root twice gives the same image.
    image.created = rfc3339(imported->newest ? imported->newest->seconds : 0);
    image.layers = {imported->layer};
    image.config.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
    image.config.cmd = std::vector<std::string>{"/bin/sh"};
    image.history = {{image.created, imported->created_by, "", args.message, false}};
    const auto staged = program.images().stage(transaction, image);
    transaction.commit([&](Catalogue::Write& write) {
        registry::ImageStore::publish(write, staged, reference ? std::vector<std::string>{reference->full()} : std::vector<std::string>{});
    });
    program.images().write_layout_index();
    if (args.quiet) {
        print(staged.id.str() + "\n");
        return 0;
    }
    const auto row = store.catalogue().layer(imported->layer);
    print(fmt::format("{}  {}  {} entries, {} of content{}  in {}\n", reference ? reference->familiar() : staged.id.short_hex(), staged.id.short_hex(),
                      row->entries, human_bytes(row->content_bytes), note.empty() ? "" : ", " + note,
                      human_duration(std::chrono::steady_clock::now() - begin)));
    return 0;
}

}  // namespace

Verb import_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "import";
    verb.group = "Build";
    verb.synopsis = "import FILE|DIRECTORY|- [NAME]   or   import --host PROGRAM… -t NAME";
    verb.summary = "make a base image of a root filesystem, or of programs of this machine";
    verb.examples = {{"surcoat import rootfs.tar.gz debian:12", "a tar, plain or compressed with gzip, zstd, bzip2 or xz"},
                     {"mmdebstrap --variant=minbase bookworm - | surcoat import - debian:12", "from standard input"},
                     {"surcoat import --host sh coreutils python3 -t base", "programs (or packages) of this machine with all they need to run"}};
    verb.declare = [args](Options& options) {
        options.arguments("SOURCE", args->words, "a tar archive, a directory or - for standard input; then the image's name", false);
        options.many("--host", args->host, "programs or Debian packages of this machine to take, with what they need", "PROGRAM");
        options.value("-t,--tag", args->tag, "the image's name", "NAME");
        options.value("-m,--message", args->message, "a comment for the history", "TEXT");
        options.flag("-q,--quiet", args->quiet, "print only the image's ID");
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    return verb;
}

}  // namespace surcoat::cmd
