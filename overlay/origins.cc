#include "overlay/origins.h"

#include <algorithm>
#include <array>

#include "layers/diff.h"
#include "layers/store/store.h"

namespace surcoat::overlay {
namespace {

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

}  // namespace

std::function<std::shared_ptr<const Inode>(std::string_view handle)> origins_of(const Tree& tree,
                                                                               const std::vector<DiffId>& layers) {
    // Store::erofs_view gives the superblock the first 16 bytes of the key as its uuid.
    const ObjectId key = ObjectId::parse_hex(Store::view_key(layers));
    std::array<std::byte, 16> uuid{};
    std::copy_n(key.hash.begin(), uuid.size(), uuid.begin());
    return erofs_origins(tree, uuid);
}

std::optional<std::string> index_handle(std::string_view name) {
    if (name.empty() || name.size() % 2 != 0) return std::nullopt;
    std::string handle;
    for (std::size_t at = 0; at < name.size(); at += 2) {
        const int high = digit(name[at]);
        const int low = digit(name[at + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        handle.push_back(static_cast<char>(high * 16 + low));
    }
    return handle;
}

}  // namespace surcoat::overlay
