#include <fmt/format.h>

#include <map>

#include "cmd/container_files.h"
#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/tar.h"
#include "overlay/union_view.h"

namespace surcoat::cmd {
namespace {

void write_root(Program& program, const std::string& name, ByteSink& sink) {
    const Tree tree = tree_of(program, name);
    const auto view = program.view_of(name, true);
    TarWriter writer(sink);
    std::map<const Inode*, std::string> written;
    std::vector<std::byte> buffer(1 << 18);
    tree.walk([&](const std::string& path, const Tree::Node& node) {
        Entry entry;
        entry.path = path;
        if (!node.is_directory()) {
            const auto [first, is_new] = written.emplace(node.inode.get(), path);
            if (!is_new) {
                entry.kind = Entry::Kind::hardlink;
                entry.target = first->second;
                writer.entry(entry);
                return;
            }
        }
        entry.inode = *node.inode;
        writer.entry(entry);
        if (node.inode->type != FileType::regular || node.inode->size == 0) return;
        const UniqueFd fd = view->open_read("/" + path);
        std::uint64_t left = node.inode->size;
        FdSource source(fd.get());
        while (left > 0) {
            const std::size_t n = source.read(MutableByteSpan(buffer).first(std::min<std::uint64_t>(buffer.size(), left)));
            if (n == 0) throw Error(Errc::conflict, fmt::format("'/{}' became shorter while it was read", path)).hint("stop the container, then export it again");
            writer.content(ByteSpan(buffer).first(n));
            left -= n;
        }
    });
    writer.finish();
}

}  // namespace

Verb export_verb() {
    struct Args {
        std::string name;
        std::string output = "-";
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "export";
    verb.group = "Move";
    verb.synopsis = "export [-o FILE] CONTAINER|IMAGE";
    verb.summary = "write the merged root as one tar archive";
    verb.declare = [args](Options& options) {
        options.value("-o,--output", args->output, "where to (default: standard output)", "FILE");
        options.argument("NAME", args->name, "container or image");
    };
    verb.run = [args](Program& program) {
        write_output(args->output, "export", [&](ByteSink& sink) { write_root(program, args->name, sink); });
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
