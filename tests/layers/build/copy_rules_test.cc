#include <sys/socket.h>
#include <sys/un.h>
#include <catch2/catch.hpp>

#include "layers/build/accounts.h"
#include "tests/layers/build/build_fixture.h"

using namespace surcoat;
using namespace surcoat::test;
using Catch::Contains;

namespace {

/// The context that the tables below copy from.
void fill(ContextDirectory& context) {
    context.file("a.txt", "A");
    context.file("b.txt", "B");
    context.file("run.sh", "R", 0755);
    context.file(".hidden", "H");
    context.file("dir/c.txt", "C");
    context.file("dir/sub/d.txt", "D", 0600);
    context.dir("dir/empty", 0700);
    context.dir("dir/sub", 0750);
    context.link("link.txt", "a.txt");
    context.link("link-dir", "dir");
    context.link("links/inner", "nowhere");
    context.link("absolute", "/dir/c.txt");
    context.link("escape", "../../../../../dir/c.txt");
    context.file("odd[1].txt", "O");
}

struct Case {
    std::string why, recipe, added;
};

}  // namespace

TEST_CASE("COPY puts things where the reference puts them", "[build][copy]") {
    Builder builder;
    fill(builder.context);
    const std::vector<Case> cases = {
        {"a file to a name", "COPY a.txt /x", "x f 0644 0:0 A\n"},
        {"a file into what ends in a slash", "COPY a.txt /x/", "x d 0755 0:0\nx/a.txt f 0644 0:0 A\n"},
        {"a file into a directory that exists", "COPY a.txt /srv", "srv/a.txt f 0644 0:0 A\n"},
        {"missing parents are made", "COPY a.txt /p/q/x",
         "p d 0755 0:0\np/q d 0755 0:0\np/q/x f 0644 0:0 A\n"},
        {"modes are kept", "COPY run.sh /x", "x f 0755 0:0 R\n"},
        {"several into a directory", "COPY a.txt run.sh /x/",
         "x d 0755 0:0\nx/a.txt f 0644 0:0 A\nx/run.sh f 0755 0:0 R\n"},
        {"several onto one name: the last one stays", "COPY a.txt b.txt /x", "x f 0644 0:0 B\n"},
        {"a directory's contents, not the directory", "COPY dir /x",
         "x d 0755 0:0\nx/c.txt f 0644 0:0 C\nx/empty d 0700 0:0\nx/sub d 0750 0:0\nx/sub/d.txt f 0600 0:0 "
         "D\n"},
        {"into a directory that exists", "COPY dir /srv",
         "srv/c.txt f 0644 0:0 C\nsrv/empty d 0700 0:0\nsrv/sub d 0750 0:0\nsrv/sub/d.txt f 0600 0:0 D\n"},
        {"the root of the source is its root", "COPY /a.txt ../../b.txt /x/",
         "x d 0755 0:0\nx/a.txt f 0644 0:0 A\nx/b.txt f 0644 0:0 B\n"},
        {"the destination cannot leave the root either", "COPY a.txt /../../x", "x f 0644 0:0 A\n"},
        {"relative to the working directory", "WORKDIR /srv/w\nCOPY a.txt x\nCOPY b.txt .\nCOPY run.sh ./y/",
         "srv/w d 0755 0:0\nsrv/w/b.txt f 0644 0:0 B\nsrv/w/x f 0644 0:0 A\nsrv/w/y d 0755 "
         "0:0\nsrv/w/y/run.sh f 0755 0:0 R\n"},
        {"an empty destination is the working directory", "WORKDIR /srv/w\nCOPY a.txt $NOTHING",
         "srv/w d 0755 0:0\nsrv/w/a.txt f 0644 0:0 A\n"},
        {"the words are expanded", "ARG N=a\nENV D=/x\nCOPY ${N}.txt $D/",
         "x d 0755 0:0\nx/a.txt f 0644 0:0 A\n"},
        {"the JSON form takes blanks", "COPY [\"a.txt\", \"/x y\"]", "x y f 0644 0:0 A\n"},
        {"a star does not match a slash", "COPY *.txt /x/",
         "x d 0755 0:0\nx/a.txt f 0644 0:0 A\nx/b.txt f 0644 0:0 B\nx/link.txt f 0644 0:0 A\nx/odd[1].txt f "
         "0644 0:0 O\n"},
        {"a star matches what begins with a dot", "COPY *hidden /x/",
         "x d 0755 0:0\nx/.hidden f 0644 0:0 H\n"},
        {"a directory that a wildcard matches is flattened", "COPY d* /x/",
         "x d 0755 0:0\nx/c.txt f 0644 0:0 C\nx/empty d 0700 0:0\nx/sub d 0750 0:0\nx/sub/d.txt f 0600 0:0 "
         "D\n"},
        {"classes and question marks", "COPY [ab].tx? /x/",
         "x d 0755 0:0\nx/a.txt f 0644 0:0 A\nx/b.txt f 0644 0:0 B\n"},
        {"in a directory", "COPY dir/*/d.txt /x/", "x d 0755 0:0\nx/d.txt f 0600 0:0 D\n"},
        {"a wildcard that matches nothing", "COPY *.nothing /x/", ""},
        {"a wildcard with one match names a file", "COPY run.* /x", "x f 0755 0:0 R\n"},
        {"a class of one takes a wildcard literally", "COPY odd[[]1].txt /x", "x f 0644 0:0 O\n"},
        {"a symlink that is named is followed", "COPY link.txt /x", "x f 0644 0:0 A\n"},
        {"and keeps its own name in a directory", "COPY link.txt /x/",
         "x d 0755 0:0\nx/link.txt f 0644 0:0 A\n"},
        {"a symlink to a directory too", "COPY link-dir/sub /x", "x d 0755 0:0\nx/d.txt f 0600 0:0 D\n"},
        {"a nested symlink is copied as one", "COPY links /x", "x d 0755 0:0\nx/inner l 0777 0:0 nowhere\n"},
        {"symlinks are followed inside the context", "COPY absolute /x\nCOPY escape /y",
         "x f 0644 0:0 C\ny f 0644 0:0 C\n"},
        {"symlinks of the destination are followed", "COPY a.txt /to-srv/\nCOPY b.txt /to-srv",
         "srv/a.txt f 0644 0:0 A\nsrv/b.txt f 0644 0:0 B\n"},
        {"also if they lead to what is not there yet", "COPY a.txt /to-nowhere",
         "not d 0755 0:0\nnot/there f 0644 0:0 A\n"},
        {"for a directory too", "COPY links /to-nowhere",
         "not d 0755 0:0\nnot/there d 0755 0:0\nnot/there/inner l 0777 0:0 nowhere\n"},
        {"a file replaces a file, and its mode", "COPY run.sh /etc/passwd", "etc/passwd f 0755 0:0 R\n"},
        {"a hardlink's other name keeps the old content", "COPY a.txt /srv/old.txt",
         "srv/old.txt f 0644 0:0 A\n"},
        {"USER does not matter", "USER app\nCOPY a.txt /x", "x f 0644 0:0 A\n"},
        {"--chown by number, also for what is made on the way", "COPY --chown=3:4 a.txt /p/x",
         "p d 0755 3:4\np/x f 0644 3:4 A\n"},
        {"--chown by name", "COPY --chown=odd:app a.txt /x", "x f 0644 7:1000 A\n"},
        {"--chown with a variable", "ARG WHO=app\nCOPY --chown=$WHO a.txt /x", "x f 0644 1000:1000 A\n"},
        {"--chown does not touch a directory that was there", "COPY --chown=3 a.txt /srv/",
         "srv/a.txt f 0644 3:3 A\n"},
        {"an octal --chmod goes to all that is made", "COPY --chmod=701 dir/sub /p/x",
         "p d 0701 0:0\np/x d 0701 0:0\np/x/d.txt f 0701 0:0 D\n"},
        {"a symbolic one goes to what is copied", "COPY --chmod=go=u,a+X dir/sub /p/x",
         "p d 0755 0:0\np/x d 0755 0:0\np/x/d.txt f 0666 0:0 D\n"},
        {"not to symlinks", "COPY --chmod=700 links /x", "x d 0700 0:0\nx/inner l 0777 0:0 nowhere\n"},
    };
    for (const Case& c : cases) {
        INFO(c.why << "\n" << c.recipe);
        const auto result = builder.build("FROM base\n" + c.recipe + "\n");
        CHECK(builder.added(result) == c.added);
        CHECK(builder.seen.warnings.empty());
    }
    CHECK(builder.problems() == "");
}

TEST_CASE("what COPY refuses, and how it says so", "[build][copy]") {
    Builder builder;
    fill(builder.context);
    builder.context.link("loop", "loop");
    builder.context.link("dangling", "nothing");
    const std::vector<Case> cases = {
        {"missing", "COPY a.tx /x",
         "Dockerfile:2:6: \"/a.tx\": not found in the context (did you mean '/a.txt'?)"},
        {"missing, the second", "COPY a.txt dir/cc.txt /x/",
         "Dockerfile:2:12: \"/dir/cc.txt\": not found in the context (did you mean '/dir/c.txt'?)"},
        {"through a file", "COPY a.txt/x /x", "\"/a.txt/x\": not found"},
        {"a symlink that leads nowhere", "COPY dangling /x", "\"/dangling\": not found"},
        {"a loop", "COPY loop /x", "more than 40 symlinks"},
        {"a directory over a file", "COPY dir /etc/passwd",
         "Dockerfile:2:10: cannot create directory '/etc/passwd': '/etc/passwd' is a regular file"},
        {"a nested directory over a file", "RUN mkdir /x && echo 1 > /x/sub\nCOPY dir /x",
         "Dockerfile:3:10: cannot copy directory '/dir/sub' over '/x/sub', which is a regular file"},
        {"a nested file over a directory", "RUN mkdir /x && mkdir /x/c.txt\nCOPY dir /x",
         "cannot copy '/dir/c.txt' over the directory '/x/c.txt'"},
        {"a file as a parent", "COPY a.txt /etc/passwd/x",
         "cannot create directory '/etc/passwd': '/etc/passwd' is a regular file"},
        {"a mode", "COPY --chmod=99 a.txt /x", "Dockerfile:2:"},
        {"a pattern", "COPY [a /x", "Dockerfile:2:"},
    };
    for (const Case& c : cases) {
        INFO(c.why << "\n" << c.recipe);
        CHECK_THAT(builder.error("FROM base\n" + c.recipe + "\n").what(), Contains(c.added));
    }
}

TEST_CASE("hardlinks, fifos and sockets of the context", "[build][copy]") {
    Builder builder;
    builder.context.file("d/one", "1");
    builder.context.hardlink("d/two", "d/one");
    builder.context.file("e/one", "other");
    REQUIRE(::mkfifo((builder.context.path() / "d/pipe").c_str(), 0644) == 0);
    REQUIRE(::chmod((builder.context.path() / "d/pipe").c_str(), 0640) == 0);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string at = (builder.context.path() / "d/sock").string();
    REQUIRE(at.size() < sizeof address.sun_path);
    std::copy(at.begin(), at.end(), address.sun_path);
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    ::close(fd);

    const auto result = builder.build("FROM scratch\nCOPY d /x\n");
    const auto tree = builder.tree(result);
    CHECK(tree->find("x/one")->inode == tree->find("x/two")->inode);
    CHECK(tree->find("x/pipe")->inode->type == FileType::fifo);
    CHECK(tree->find("x/pipe")->inode->mode == 0640);
    CHECK(tree->find("x/sock")->inode->type == FileType::regular);
    CHECK(tree->find("x/sock")->inode->size == 0);

    // d/two is a name of d/one, but /x/one is another file by the time it is copied.
    const auto mixed = builder.build("FROM scratch\nCOPY d/one e/one d/two /x/\n");
    CHECK(builder.content(mixed, "x/one") == "other");
    CHECK(builder.content(mixed, "x/two") == "1");
}

TEST_CASE("what comes from a stage keeps its owner; what is made on the way does not", "[build][copy]") {
    Builder builder;
    builder.context.file("a/f", "1");
    const auto result =
        builder.build("FROM base AS one\nCOPY --chown=5:6 a /o/a\nFROM base\nCOPY --from=one /o /p/q\n");
    CHECK(builder.added(result) == "p d 0755 0:0\np/q d 0755 0:0\np/q/a d 0755 5:6\np/q/a/f f 0644 5:6 1\n");
}

TEST_CASE("an ignore file leaves out, and takes in again", "[build][copy]") {
    Builder builder;
    builder.context.file("a.txt", "A");
    builder.context.file("b.md", "B");
    builder.context.file("out/deep/keep", "K");
    builder.context.file("out/deep/drop", "D");
    builder.context.file(".dockerignore", "# comment\n*.md\nout\n!out/deep/keep\n.dockerignore\n");
    const std::string recipe = "FROM scratch\nCOPY . /\n";
    const auto names = [&] {
        std::string text;
        builder.tree(builder.build(recipe))->walk([&](const std::string& path, const Tree::Node&) {
            text += path + " ";
        });
        return text;
    };
    CHECK(names() == "a.txt out out/deep out/deep/keep ");
    CHECK_THAT(builder.error("FROM scratch\nCOPY b.md /\n").hint(), Contains("ignore file"));
    builder.context.file(".containerignore", "a.txt\nout\n");
    CHECK(names() == ".containerignore .dockerignore b.md ");
    builder.context.remove(".containerignore");
    builder.context.file(".dockerignore", "a[\n");
    CHECK_THAT(builder.error(recipe).what(), Contains(".dockerignore") && Contains("a["));
}

TEST_CASE("the recipe's own ignore file goes before the context's", "[build][copy]") {
    Builder builder;
    builder.context.file("a.txt", "A");
    builder.context.file("b.md", "B");
    builder.context.file(".dockerignore", "a.txt\n.dockerignore\n");
    const TempDir beside;
    write_file_durably(beside.path() / "Own", "FROM scratch\nCOPY . /\n");
    write_file_durably(beside.path() / "Own.dockerignore", "b.md\n");
    build::BuildContext files(builder.context.path(), (beside.path() / "Own").string());
    std::string names;
    files.files().tree->walk([&](const std::string& path, const Tree::Node&) { names += path + " "; });
    CHECK(names == ".dockerignore a.txt ");
}

TEST_CASE("recipes are looked for in their order, and missing ones are said", "[build][copy]") {
    ContextDirectory context;
    CHECK_THAT(std::string([&] {
                   try {
                       build::BuildContext(context.path(), std::nullopt);
                   } catch (const Error& e) { return std::string(e.what()); }
                   return std::string();
               }()),
               Contains("neither Surcoatfile nor Containerfile nor Dockerfile"));
    for (const char* name : {"Dockerfile", "Containerfile", "Surcoatfile"}) {
        context.file(name, std::string("# ") + name);
        const build::BuildContext found(context.path(), std::nullopt);
        CHECK(found.recipe_name() == name);
        CHECK(found.recipe_text() == std::string("# ") + name);
    }
    CHECK_THROWS_WITH(build::BuildContext(context.path(), "Other"), Contains("there is no recipe 'Other'"));
    CHECK_THROWS_WITH(build::BuildContext(context.path() / "gone", std::nullopt),
                      Contains("there is no build context"));
    CHECK_THROWS_WITH(build::BuildContext(context.path() / "Dockerfile", std::nullopt),
                      Contains("Dockerfile"));
}

TEST_CASE("--chown and USER read the image's accounts", "[build][copy]") {
    const std::map<std::string, std::string> files = {
        {"etc/passwd", "root:x:0:0::/:\napp:x:1000:100::/:\n\nbroken\nbad:x:y:1::/:\nfive:x:5:55::/:\n"},
        {"etc/group", "root:x:0:\nusers:x:100:app\nstaff:x:50:\n"}};
    const build::Accounts accounts([&](const std::string& path) -> std::optional<std::string> {
        const auto found = files.find(path);
        if (found == files.end()) return std::nullopt;
        return found->second;
    });
    struct Row {
        std::string text;
        std::uint32_t uid, gid;
        std::string unknown;
    };
    const std::vector<Row> chowns = {
        {"app", 1000, 100, ""},
        {"app:staff", 1000, 50, ""},
        {"12", 12, 12, ""},
        {"5", 5, 55, ""},
        {"12:13", 12, 13, ""},
        {":staff", 0, 50, ""},
        {":7", 0, 7, ""},
        {"app:", 1000, 0, ""},
        {"nobody", 0, 0, "nobody"},
        {"app:none", 1000, 100, "none"},
        {"nobody:none", 0, 0, "nobody"},
    };
    for (const Row& row : chowns) {
        INFO(row.text);
        const auto owner = accounts.chown(row.text);
        CHECK(owner.uid == row.uid);
        CHECK(owner.gid == row.gid);
        CHECK(owner.unknown == row.unknown);
    }
    CHECK(accounts.user("12").gid == 0);
    CHECK(accounts.user("5").gid == 55);
    CHECK(accounts.user("app").gid == 100);
}

TEST_CASE("an unknown name of --chown counts as root, with a warning", "[build][copy]") {
    Builder builder;
    builder.context.file("a", "A");
    const auto result = builder.build("FROM base\nCOPY --chown=nobdy:staff a /x\n");
    CHECK(builder.added(result) == "x f 0644 0:50 A\n");
    REQUIRE(builder.seen.warnings.size() == 1);
    CHECK_THAT(builder.seen.warnings[0], Contains("Dockerfile:2:") && Contains("'nobdy'"));
    // Accounts that an earlier step of the same build made are known, published or not.
    builder.context.file("passwd", "new:x:77:78::/:\n");
    CHECK(builder.added(builder.build("FROM scratch\nCOPY passwd /etc/passwd\nCOPY --chown=new a /x\n"))
              .find("x f 0644 77:78") != std::string::npos);
}
