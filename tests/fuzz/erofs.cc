// Any bytes: the reader refuses them as corrupt, or gives a tree that survives being written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "layers/base/error.h"
#include "layers/erofs.h"
#include "layers/erofs_format.h"

using namespace surcoat;

namespace {

Tree example() {
    Tree tree;
    Inode file;
    file.size = 3;
    file.object = ObjectId{};
    file.xattrs = {{"security.capability", "c"}, {"user.x", "y"}};
    Inode directory{.type = FileType::directory, .mode = 0755};
    Inode link{.type = FileType::symlink, .mode = 0777};
    link.link_target = "target";
    Inode device{.type = FileType::char_device, .mode = 0600};
    device.device_major = 1;
    device.device_minor = 3;
    tree.put("dir", std::make_shared<const Inode>(directory));
    tree.put("dir/file", std::make_shared<const Inode>(file));
    tree.link("hard", "dir/file");
    tree.put("link", std::make_shared<const Inode>(link));
    tree.put("null", std::make_shared<const Inode>(device));
    // Two blocks of names.
    for (int i = 0; i < 20; ++i) {
        tree.put("dir/" + std::string(230, 'n') + std::to_string(i), std::make_shared<const Inode>(Inode{}));
    }
    return tree;
}

std::string write(const Tree& tree) {
    StringSink sink;
    write_erofs(sink, tree, {});
    return sink.text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // Most inputs are changes to a whole image (offset, value), and the checksum is always made right: it
    // only stands in the fuzzer's way.
    static const std::string whole = write(example());
    std::string image;
    if (size > 0 && data[0] % 4 != 0) {
        image = whole;
        for (std::size_t i = 1; i + 4 <= size; i += 4) {
            const std::size_t at = (data[i] | data[i + 1] << 8 | data[i + 2] << 16) % image.size();
            image[at] = static_cast<char>(data[i + 3]);
        }
    } else {
        image.assign(reinterpret_cast<const char*>(data), size);
    }
    if (image.size() >= erofs::kBlock) {
        erofs::put<std::uint32_t>(image.data() + erofs::kSuperOffset + 4, erofs::checksum(image.data()));
    }
    try {
        const Tree tree = read_erofs(as_bytes(image), "input");
        const std::string again = write(tree);
        if (write(read_erofs(as_bytes(again), "again")) != again) std::abort();
    } catch (const Error& e) {
        if (e.code() != Errc::corrupt) std::abort();
    }
    return 0;
}
