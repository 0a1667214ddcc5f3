#pragma once
#include <algorithm>
#include <map>

#include "layers/base/temp_dir.h"
#include "layers/store/transaction.h"
#include "overlay/container.h"
#include "tests/overlay/sandbox_fixture.h"

namespace surcoat::test {

/// The small system of fill_busybox_root() as a layer's entries; contents go into the transaction.
inline std::vector<Entry> busybox_entries(Transaction& transaction) {
    std::map<std::string, Entry> all;
    const auto add = [&](const std::string& path, FileType type, std::uint16_t mode) -> Inode& {
        Entry& entry = all[path];
        entry.path = path;
        entry.inode.type = type;
        entry.inode.mode = mode;
        entry.inode.mtime = {1700000000, 0};
        return entry.inode;
    };
    for (const char* path : {"bin", "etc", "root", "home", "home/amy"}) add(path, FileType::directory, 0755);
    add("tmp", FileType::directory, 01777);
    {
        const UniqueFd program = open_file("/bin/busybox", O_RDONLY);
        const auto size = static_cast<std::uint64_t>(stat_fd(program.get()).st_size);
        Inode& inode = add("bin/busybox", FileType::regular, 0755);
        inode.size = size;
        inode.object = transaction.add_object_from(program.get(), size);
    }
    std::istringstream applets(run_command({"/bin/busybox", "--list"}).output);
    for (std::string name; std::getline(applets, name);) {
        if (name != "busybox") add("bin/" + name, FileType::symlink, 0777).link_target = "busybox";
    }
    const std::pair<const char*, std::string> files[] = {
        {"etc/passwd", "root:x:0:0:root:/root:/bin/sh\namy:x:1000:1001:Amy:/home/amy:/bin/sh\n"},
        {"etc/group", "root:x:0:\namy:x:1001:\n"},
        {"etc/motd", "welcome\n"}};
    for (const auto& [path, text] : files) {
        Inode& inode = add(path, FileType::regular, 0644);
        inode.size = text.size();
        inode.object = transaction.add_object(as_bytes(text));
    }
    std::vector<Entry> entries;
    for (auto& item : all) entries.push_back(std::move(item.second));
    return entries;
}

/// A store with one image, "busybox".
class ContainerStore {
  public:
    explicit ContainerStore(const std::filesystem::path& parent = {})
        : directory_(parent),
          store_(StoreOptions{directory_.path() / "store"}),
          image_(Digest::of("busybox")) {
        Transaction transaction(store_, "test");
        layers_ = {transaction.add_layer(busybox_entries(transaction))};
        transaction.add_blob("busybox", "application/vnd.oci.image.config.v1+json");
        transaction.commit([&](Catalogue::Write& write) {
            ImageRow row{.id = image_, .manifest = image_, .layers = layers_};
            write.add_image(row);
        });
    }
    Store& store() { return store_; }
    const std::vector<DiffId>& layers() const { return layers_; }
    const std::filesystem::path& path() const { return directory_.path(); }

    overlay::NewContainer wanted(const overlay::ContainerSpec& spec, const std::string& name = {}) const {
        return {name, image_, "busybox", layers_, spec};
    }
    std::string create(const overlay::ContainerSpec& spec, const std::string& name = {}) {
        std::vector<overlay::NewContainer> all;
        all.push_back(wanted(spec, name));
        return overlay::Containers(store_).create(std::move(all))[0];
    }

  private:
    TempDir directory_;
    Store store_;
    Digest image_;
    std::vector<DiffId> layers_;
};

/// Runs `body` with standard output and error going to a file, whose content is returned.
template <typename Body>
std::string captured(Body&& body) {
    const UniqueFd file = memory_file();
    const UniqueFd out(::fcntl(1, F_DUPFD_CLOEXEC, 3));
    const UniqueFd err(::fcntl(2, F_DUPFD_CLOEXEC, 3));
    std::fflush(nullptr);
    ::dup2(file.get(), 1);
    ::dup2(file.get(), 2);
    try {
        body();
    } catch (...) {
        ::dup2(out.get(), 1);
        ::dup2(err.get(), 2);
        throw;
    }
    ::dup2(out.get(), 1);
    ::dup2(err.get(), 2);
    return content_of(file);
}

}  // namespace surcoat::test
