#include "layers/build/context.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/recipe/ignore.h"

namespace surcoat::build {
namespace {

constexpr std::size_t kRecipeLimit = 16 << 20;

Inode context_inode(int directory, const std::string& name, const struct stat& st) {
    Inode inode;
    inode.mode = static_cast<std::uint16_t>(st.st_mode & 07777);
    // Whole seconds, as docker keeps them: what git or tar restored is the same on every machine.
    inode.mtime = {st.st_mtim.tv_sec, 0};
    switch (st.st_mode & S_IFMT) {
        case S_IFDIR:
            inode.type = FileType::directory;
            break;
        case S_IFLNK: {
            inode.type = FileType::symlink;
            inode.mode = 0777;
            inode.link_target.resize(static_cast<std::size_t>(st.st_size) + 1);
            const ssize_t n =
                ::readlinkat(directory, name.c_str(), inode.link_target.data(), inode.link_target.size());
            if (n < 0) throw_errno(fmt::format("read the symlink '{}' of the context", name));
            inode.link_target.resize(static_cast<std::size_t>(n));
            break;
        }
        case S_IFIFO:
            inode.type = FileType::fifo;
            break;
        case S_IFCHR:
        case S_IFBLK:
            inode.type = S_ISCHR(st.st_mode) ? FileType::char_device : FileType::block_device;
            inode.device_major = major(st.st_rdev);
            inode.device_minor = minor(st.st_rdev);
            break;
        case S_IFSOCK:
            inode.type = FileType::regular;
            break;  // as the reference does: an empty file
        default:
            inode.type = FileType::regular;
            inode.size = static_cast<std::uint64_t>(st.st_size);
    }
    if (inode.type == FileType::regular) {
        if (auto capability = read_xattr_at(directory, name, "security.capability")) {
            inode.xattrs.emplace_back("security.capability", std::move(*capability));
        }
    }
    return inode;
}

class Scanner {
  public:
    explicit Scanner(const recipe::IgnoreRules& rules) : rules_(rules) {}
    Tree tree;

    void scan(int directory, const std::string& above) {
        for (const std::string& name : list_directory(directory)) {
            const std::string path = above.empty() ? name : above + "/" + name;
            struct stat st {};
            if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
                if (errno == ENOENT) continue;  // it went while we looked
                throw_errno(fmt::format("look at '{}' in the context", path));
            }
            const bool ignored = rules_.ignores(path);
            if (ignored && (!S_ISDIR(st.st_mode) || !rules_.has_exceptions())) continue;
            if (S_ISDIR(st.st_mode)) {
                const UniqueFd child = open_file_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
                if (ignored) {
                    pending_.push_back({path, context_inode(directory, name, st)});
                    scan(child.get(), path);
                    if (!pending_.empty() && pending_.back().first == path) pending_.pop_back();
                } else {
                    put(path, context_inode(directory, name, st));
                    scan(child.get(), path);
                }
                continue;
            }
            const auto link = std::pair(st.st_dev, st.st_ino);
            if (st.st_nlink > 1 && S_ISREG(st.st_mode)) {
                if (const auto first = links_.find(link); first != links_.end()) {
                    materialise();
                    tree.link(path, first->second);
                    continue;
                }
                links_.emplace(link, path);
            }
            put(path, context_inode(directory, name, st));
        }
    }

  private:
    // Ignored directories are shown only once something below them is taken in again ("!…").
    void materialise() {
        for (auto& [path, inode] : pending_) tree.put(path, std::make_shared<const Inode>(std::move(inode)));
        pending_.clear();
    }
    void put(const std::string& path, Inode inode) {
        materialise();
        tree.put(path, std::make_shared<const Inode>(std::move(inode)));
    }

    const recipe::IgnoreRules& rules_;
    std::vector<std::pair<std::string, Inode>> pending_;
    std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

BuildContext::BuildContext(const std::filesystem::path& directory, const std::optional<std::string>& recipe)
    : directory_(directory) {
    const auto st = lstat_path(directory_ / ".");
    if (!st) {
        throw Error(Errc::not_found, fmt::format("there is no build context '{}'", directory_.string()))
            .hint(
                "name the directory that holds the recipe and what it copies: surcoat build -t NAME "
                "DIRECTORY");
    }
    if (recipe == "-") {
        recipe_name_ = "<stdin>";
        recipe_text_ = surcoat::read_file(STDIN_FILENO, kRecipeLimit);
        return;
    }
    if (recipe) {
        recipe_path_ = *recipe;
        // docker looks beside the caller; buildah also in the context.
        if (!std::filesystem::exists(recipe_path_) && recipe_path_.is_relative())
            recipe_path_ = directory_ / *recipe;
        if (!std::filesystem::exists(recipe_path_)) {
            throw Error(Errc::not_found, fmt::format("there is no recipe '{}', neither here nor in '{}'",
                                                     *recipe, directory_.string()));
        }
        recipe_name_ = *recipe;
    } else {
        for (const char* name : {"Surcoatfile", "Containerfile", "Dockerfile", "dockerfile"}) {
            if (std::filesystem::exists(directory_ / name)) {
                recipe_path_ = directory_ / name;
                recipe_name_ = name;
                break;
            }
        }
        if (recipe_path_.empty()) {
            throw Error(
                Errc::not_found,
                fmt::format(
                    "there is no recipe in '{}': neither Surcoatfile nor Containerfile nor Dockerfile",
                    directory_.string()))
                .hint("name another one with -f FILE");
        }
    }
    recipe_text_ = surcoat::read_file(recipe_path_, kRecipeLimit);
}

BuildContext BuildContext::without_files(std::string recipe_text, std::string recipe_name) {
    BuildContext context;
    context.recipe_text_ = std::move(recipe_text);
    context.recipe_name_ = std::move(recipe_name);
    context.files_ = SourceTree{"the context", std::make_shared<const Tree>(), {}, {}, false};
    return context;
}

const SourceTree& BuildContext::files() {
    if (files_) return *files_;
    const auto root = std::make_shared<RootDir>(directory_.string());
    std::string ignore_text;
    std::string ignore_name;
    bool found = false;
    if (!recipe_path_.empty()) {
        const std::filesystem::path own = recipe_path_.string() + ".dockerignore";
        if (std::filesystem::exists(own)) {
            ignore_text = surcoat::read_file(own, kRecipeLimit);
            ignore_name = own.string();
            found = true;
        }
    }
    for (const char* name : {".containerignore", ".dockerignore"}) {
        if (found) break;
        if (auto text = root->read_file(name, kRecipeLimit)) {
            ignore_text = std::move(*text);
            ignore_name = (directory_ / name).string();
            found = true;
        }
    }
    const recipe::IgnoreRules rules = doing(fmt::format("cannot use the ignore file '{}'", ignore_name), [&] {
        return recipe::IgnoreRules(recipe::parse_ignore_file(ignore_text));
    });
    Scanner scanner(rules);
    const UniqueFd top = open_file(directory_, O_RDONLY | O_DIRECTORY);
    scanner.scan(top.get(), "");

    SourceTree files;
    files.name = "the context";
    files.tree = std::make_shared<const Tree>(std::move(scanner.tree));
    files.open = [root](const std::string& path, const Inode&) {
        return root->open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    };
    const auto known = std::make_shared<std::map<std::string, ObjectId>>();
    files.object = [root, known](const std::string& path, const Inode&) {
        if (const auto it = known->find(path); it != known->end()) return it->second;
        const UniqueFd fd = root->open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        Hasher hasher;
        std::vector<std::byte> buffer(1 << 18);
        FdSource source(fd.get());
        while (const std::size_t n = source.read(buffer)) hasher.update(ByteSpan(buffer).first(n));
        const ObjectId id{hasher.finish()};
        known->emplace(path, id);
        return id;
    };
    files_ = std::move(files);
    return *files_;
}

}  // namespace surcoat::build
