#include "cmd/container_files.h"

#include <fmt/format.h>

#include "layers/base/hash.h"
#include "overlay/container.h"
#include "registry/image_store.h"

namespace surcoat::cmd {

Tree tree_of(Program& program, const std::string& name) {
    std::optional<ContainerRow> row;
    try {
        row = program.containers().get(name);
    } catch (const Error& error) {
        if (error.code() != Errc::not_found) throw;
    }
    if (row) {
        const auto hash_only = [](int fd, std::uint64_t) {
            Hasher hasher;
            std::vector<std::byte> buffer(1 << 18);
            FdSource source(fd);
            while (const std::size_t n = source.read(buffer)) hasher.update(ByteSpan(buffer).first(n));
            return ObjectId{hasher.finish()};
        };
        return program.containers().tree(*row, hash_only);
    }
    const auto image = program.images().find_image(name);
    if (!image) {
        throw Error(Errc::not_found, fmt::format("there is neither a container nor an image '{}'", name)).hint("see `surcoat ps -a` and `surcoat images`");
    }
    return *program.store().tree(image->row.layers);
}

}  // namespace surcoat::cmd
