// Draws the design that standard input describes with satori and resvg, as often as it says, and prints the
// milliseconds each took and the last picture. Everything that can be prepared once is: fonts, elements, the picture.
import { readFileSync } from "node:fs";
import satori from "satori";
import { Resvg } from "@resvg/resvg-js";

const design = JSON.parse(readFileSync(0, "utf8"));
const fonts = design.fonts.map((font) => ({
  name: "Inter", weight: font.weight, style: "normal", data: Buffer.from(font.data, "base64"),
}));

const element = (type, style, children, more = {}) => ({ type, props: { style: { display: "flex", ...style }, children, ...more } });
const text = (size, weight, color, words, more = {}) => element("div", { fontSize: size, fontWeight: weight, color, ...more }, words);

const colours = design.colours;
const root = element("div", { width: 1200, height: 600, backgroundColor: colours.surface, fontFamily: "Inter", position: "relative" }, [
  element("img", { position: "absolute", left: 732, top: 0, width: 468, height: 600, objectFit: "cover" }, undefined, {
    src: `data:image/jpeg;base64,${design.picture}`, width: 468, height: 600,
  }),
  element("div", {
    position: "absolute", left: 72, top: 48, width: 552, height: 504, flexDirection: "column", justifyContent: "center", alignItems: "flex-start",
  }, [
    text(26, 600, colours.ink, design.words.eyebrow, { backgroundColor: colours.tint, borderRadius: 21, padding: "5px 20px" }),
    text(68, 700, colours.ink, design.words.headline, { marginTop: 24, lineHeight: 1.17 }),
    text(32, 400, colours.muted, design.words.body, { marginTop: 26 }),
    text(32, 600, "#ffffff", design.words.button, { marginTop: 36, backgroundColor: colours.accent, borderRadius: 37, padding: "16px 37px" }),
  ]),
  element("div", {
    position: "absolute", left: 644, top: 40, width: 184, height: 184, borderRadius: 92, backgroundColor: colours.badge,
    flexDirection: "column", alignItems: "center", justifyContent: "center",
  }, [text(56, 700, colours.ink, design.words.claim), text(28, 600, colours.ink, design.words.unit)]),
]);

let picture;
const took = [];
for (let round = 0; round < design.warm + design.rounds; round += 1) {
  const began = performance.now();
  const svg = await satori(root, { width: 1200, height: 600, fonts });
  picture = new Resvg(svg, { font: { loadSystemFonts: false } }).render().asPng();
  if (round >= design.warm) took.push(performance.now() - began);
}
console.log(JSON.stringify({ took, picture: picture.toString("base64") }));
