#pragma once
// Trees as values for tests: builders, a dump that shows every attribute, a random generator, and the tree of
// a real directory. All inline: test programs link different libraries, and one of them knows no trees.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/tree.h"
#include "layers/whiteout.h"

namespace surcoat::test {

inline ObjectId object_of(std::string_view content) {
    return ObjectId{sha256(as_bytes(content))};
}

inline Inode file(std::string_view content, std::uint16_t mode = 0644, std::uint32_t uid = 0,
                  std::uint32_t gid = 0) {
    Inode inode{.type = FileType::regular, .mode = mode, .uid = uid, .gid = gid, .mtime = {1'600'000'000, 5}};
    inode.size = content.size();
    if (!content.empty()) inode.object = object_of(content);
    return inode;
}
inline Inode directory(std::uint16_t mode = 0755, Timestamp mtime = {1'600'000'000, 0}) {
    return Inode{.type = FileType::directory, .mode = mode, .mtime = mtime};
}
inline Inode symlink(std::string target) {
    Inode inode{.type = FileType::symlink, .mode = 0777, .mtime = {1'600'000'001, 0}};
    inode.link_target = std::move(target);
    return inode;
}
inline Inode device(FileType type, std::uint32_t major_number, std::uint32_t minor_number) {
    Inode inode{.type = type, .mode = 0600};
    inode.device_major = major_number;
    inode.device_minor = minor_number;
    return inode;
}
inline Inode fifo() {
    return Inode{.type = FileType::fifo, .mode = 0622};
}

inline Entry add(std::string path, Inode inode) {
    return Entry{.kind = Entry::Kind::add, .path = std::move(path), .inode = std::move(inode), .target = {}};
}
inline Entry hardlink(std::string path, std::string target) {
    return Entry{
        .kind = Entry::Kind::hardlink, .path = std::move(path), .inode = {}, .target = std::move(target)};
}
inline Entry whiteout(std::string path) {
    return Entry{.kind = Entry::Kind::whiteout, .path = std::move(path), .inode = {}, .target = {}};
}
inline Entry opaque(std::string path) {
    return Entry{.kind = Entry::Kind::opaque, .path = std::move(path), .inode = {}, .target = {}};
}

inline Tree tree_of(const std::vector<Entry>& layer) {
    Tree tree;
    tree.apply(layer);
    return tree;
}

inline std::string describe(const Inode& inode) {
    std::string line = fmt::format("{} {:04o} {}:{} {}.{:09}", to_string(inode.type), inode.mode, inode.uid,
                                   inode.gid, inode.mtime.seconds, inode.mtime.nanoseconds);
    if (inode.type == FileType::regular) line += fmt::format(" {} bytes", inode.size);
    if (inode.object) line += " object " + inode.object->hex().substr(0, 12);
    if (inode.type == FileType::symlink) line += " -> " + printable(inode.link_target);
    if (inode.type == FileType::char_device || inode.type == FileType::block_device) {
        line += fmt::format(" {}:{}", inode.device_major, inode.device_minor);
    }
    for (const auto& [name, value] : inode.xattrs) {
        line += fmt::format(" {}={}", printable(name),
                            value.size() > 64 ? object_of(value).hex() : to_hex(as_bytes(value)));
    }
    return line;
}

/// One line a name, with everything that two equal trees have equal; hardlinks by the first of their names.
inline std::string describe(const Tree& tree) {
    std::map<const Inode*, std::string> first;
    std::string text = "/ " + describe(*tree.root().inode) + "\n";
    tree.walk([&](const std::string& path, const Tree::Node& node) {
        std::string shown = path.size() > 600
                                ? fmt::format("({} bytes){}", path.size(), path.substr(path.size() - 100))
                                : path;
        text += printable(shown);
        const auto [at, fresh] = first.emplace(node.inode.get(), path);
        if (fresh || node.is_directory()) {
            text += " " + describe(*node.inode) + "\n";
        } else {
            text += " = " + printable(at->second) + "\n";
        }
    });
    return text;
}

/// The lines that only one of two dumps has: "+" was found, "-" was expected.
inline std::string difference(const std::string& expected, const std::string& found) {
    const auto lines = [](const std::string& text) {
        std::map<std::string, int> counted;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = std::min(text.find('\n', at), text.size());
            ++counted[text.substr(at, end - at)];
            at = end + 1;
        }
        return counted;
    };
    const auto want = lines(expected), have = lines(found);
    std::string text;
    for (const auto& [line, count] : have) {
        if (want.find(line) == want.end()) text += "+ " + line + "\n";
    }
    for (const auto& [line, count] : want) {
        if (have.find(line) == have.end()) text += "- " + line + "\n";
    }
    return text.size() > 2500 ? text.substr(0, 2500) + "..." : text;
}

/// What a real directory holds, contents hashed, sockets left out. Recursive on purpose: it is the oracle,
/// and as plain as can be.
class DirectoryReader {
  public:
    bool contents = true;  ///< false: regular files get no object

    Tree read(const std::filesystem::path& path) {
        return Tree(read(open_file(path, O_RDONLY | O_DIRECTORY)));
    }

  private:
    static Inode attributes(const struct stat& st) {
        Inode inode;
        inode.mode = st.st_mode & 07777;
        inode.uid = st.st_uid;
        inode.gid = st.st_gid;
        inode.mtime = {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
        return inode;
    }
    static std::vector<std::pair<std::string, std::string>> plain(
        std::vector<std::pair<std::string, std::string>> xattrs) {
        std::erase_if(xattrs, [](const auto& xattr) { return is_overlay_xattr(xattr.first); });
        return xattrs;
    }
    Tree::Node read(const UniqueFd& fd) {
        Inode self = attributes(stat_fd(fd.get()));
        self.type = FileType::directory;
        self.xattrs = plain(read_xattrs(fd.get()));
        Tree::Node node{std::make_shared<const Inode>(std::move(self)), {}};
        for (const std::string& name : list_directory(fd.get())) {
            struct stat st;
            if (::fstatat(fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
                throw_errno("look at " + name);
            if (S_ISSOCK(st.st_mode)) continue;
            if (S_ISDIR(st.st_mode)) {
                node.children.emplace(
                    name, read(open_file_at(fd.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)));
                continue;
            }
            auto& known = links_[{st.st_dev, st.st_ino}];
            if (!known) known = std::make_shared<const Inode>(read_file_inode(fd.get(), name, st));
            node.children.emplace(name, Tree::Node{known, {}});
        }
        return node;
    }
    Inode read_file_inode(int directory_fd, const std::string& name, const struct stat& st) const {
        Inode inode = attributes(st);
        inode.xattrs = plain(read_xattrs_at(directory_fd, name));
        if (S_ISLNK(st.st_mode)) {
            inode.type = FileType::symlink;
            char target[4096];
            const ssize_t n = ::readlinkat(directory_fd, name.c_str(), target, sizeof target);
            if (n < 0) throw_errno("read link " + name);
            inode.link_target.assign(target, static_cast<std::size_t>(n));
        } else if (S_ISREG(st.st_mode)) {
            inode.type = FileType::regular;
            inode.size = static_cast<std::uint64_t>(st.st_size);
            if (contents && st.st_size != 0) {
                const UniqueFd fd = open_file_at(directory_fd, name, O_RDONLY | O_NOFOLLOW);
                Hasher hasher;
                std::string buffer(1 << 16, '\0');
                for (ssize_t n; (n = ::read(fd.get(), buffer.data(), buffer.size())) != 0;) {
                    if (n < 0) throw_errno("read " + name);
                    hasher.update(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)));
                }
                inode.object = ObjectId{hasher.finish()};
            }
        } else {
            inode.type = S_ISCHR(st.st_mode)   ? FileType::char_device
                         : S_ISBLK(st.st_mode) ? FileType::block_device
                                               : FileType::fifo;
            inode.device_major = major(st.st_rdev);
            inode.device_minor = minor(st.st_rdev);
        }
        return inode;
    }
    std::map<std::pair<dev_t, ino_t>, std::shared_ptr<const Inode>> links_;
};

/// SURCOAT_TEST_SEED, or a new one; say it with INFO so that a failure can be played again.
inline std::uint64_t test_seed() {
    if (const char* fixed = std::getenv("SURCOAT_TEST_SEED")) return std::strtoull(fixed, nullptr, 0);
    return std::random_device{}();
}

/// Random numbers with the same results on every machine (the standard's distributions are not).
class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
    bool one_in(std::uint64_t n) { return below(n) == 0; }
    template <typename T>
    const T& of(const std::vector<T>& values) {
        return values[below(values.size())];
    }

  private:
    std::mt19937_64 engine_;
};

/// A file whose content is text that can be made again: put(objects) writes it where a view looks for it.
inline std::string random_content(Dice& dice) {
    return dice.one_in(5)
               ? std::string()
               : fmt::format("content {}\n", dice.below(40)) + std::string(dice.below(3) * 5000, 'x');
}

inline Inode random_inode(Dice& dice, std::vector<std::string>* contents = nullptr) {
    Inode inode;
    switch (dice.below(9)) {
        case 0:
            inode =
                symlink(dice.one_in(8) ? std::string(4000, 't') : fmt::format("../target{}", dice.below(9)));
            break;
        case 1:
            inode = device(dice.one_in(2) ? FileType::char_device : FileType::block_device,
                           1 + static_cast<std::uint32_t>(dice.below(4095)),
                           static_cast<std::uint32_t>(dice.below(1 << 20)));
            break;
        case 2:
            inode = fifo();
            break;
        default: {
            const std::string content = random_content(dice);
            inode = file(content);
            if (contents != nullptr) contents->push_back(content);
        }
    }
    if (inode.type != FileType::symlink) inode.mode = static_cast<std::uint16_t>(dice.below(07777 + 1));
    inode.uid = dice.one_in(3) ? static_cast<std::uint32_t>(dice.below(4'000'000'000)) : 0;
    inode.gid = static_cast<std::uint32_t>(dice.below(1000));
    inode.mtime = {static_cast<std::int64_t>(dice.below(2'000'000'000)),
                   static_cast<std::uint32_t>(dice.below(1'000'000'000))};
    if (inode.type == FileType::regular && dice.one_in(3))
        inode.xattrs.emplace_back("user.note", fmt::format("{}", dice.below(9)));
    if (dice.one_in(9))
        inode.xattrs.insert(inode.xattrs.begin(), {"trusted.mark", std::string(dice.below(50), '\1')});
    return inode;
}

/// `contents` collects what the files hold.
inline Tree random_tree(Dice& dice, unsigned names, std::vector<std::string>* contents = nullptr) {
    Tree tree;
    std::vector<std::string> directories{""}, files;
    for (unsigned i = 0; i < names; ++i) {
        const std::string& parent = dice.of(directories);
        std::string path = parent.empty() ? "" : parent + "/";
        path += fmt::format("{}{}", dice.of<std::string>({"a", "b", "-", "zz", ".h", "\xff\xfe"}),
                            dice.below(12));
        if (tree.find(path) != nullptr) continue;
        const auto kind = dice.below(10);
        if (kind < 3) {
            Inode inode = directory(static_cast<std::uint16_t>(dice.below(07777 + 1)),
                                    {static_cast<std::int64_t>(dice.below(1'000'000)), 7});
            if (dice.one_in(4)) inode.xattrs.emplace_back("user.kind", "directory");
            tree.put(path, std::make_shared<const Inode>(std::move(inode)));
            directories.push_back(path);
        } else if (kind < 5 && !files.empty()) {
            tree.link(path, dice.of(files));
            files.push_back(path);
        } else {
            tree.put(path, std::make_shared<const Inode>(random_inode(dice, contents)));
            files.push_back(path);
        }
    }
    return tree;
}

/// Writes a content where views look for it.
inline void put_object(const std::filesystem::path& objects, std::string_view content) {
    const std::string hex = object_of(content).hex();
    std::filesystem::create_directories(objects / hex.substr(0, 2));
    const UniqueFd fd =
        open_file(objects / hex.substr(0, 2) / hex.substr(2), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    write_full(fd.get(), as_bytes(content));
}

}  // namespace surcoat::test
