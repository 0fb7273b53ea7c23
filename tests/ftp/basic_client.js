// One piece of work by basic-ftp: port, tls, user, password, certificate, what to do.
const fs = require("fs");
const { Client } = require("basic-ftp");
const [port, tls, user, password, certificate, work] = process.argv.slice(2);

async function main() {
    const client = new Client(30000);
    try {
        await client.access({
            host: "127.0.0.1",
            port: Number(port),
            user,
            password,
            secure: { plain: false, explicit: true, implicit: "implicit" }[tls],
            secureOptions: tls === "plain" ? undefined : { ca: fs.readFileSync(certificate), checkServerIdentity: () => undefined },
        });
        if (work === "all") {
            await client.uploadFrom("up.bin", "a.bin");
            await client.uploadFrom("half.bin", "c.bin");
            await client.appendFrom("rest.bin", "c.bin");
            const names = (await client.list()).map((entry) => entry.name);
            fs.writeFileSync("list.txt", names.join("\n"));
            await client.downloadTo("down.bin", "a.bin");
            const start = fs.statSync("resumed.bin").size;
            await client.downloadTo(fs.createWriteStream("resumed.bin", { flags: "a" }), "c.bin", start);
            await client.rename("a.bin", "b.bin");
            await client.remove("c.bin");
        } else {
            console.log((await client.list()).map((entry) => entry.name).join("\n"));
        }
    } finally {
        client.close();
    }
}

main().catch((error) => {
    console.error(String(error));
    process.exit(1);
});
