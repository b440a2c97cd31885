// Usage: node amprules.cjs RULES VALIDATOR < documents as a JSON list; prints a verdict for each.
const [rules, validator] = process.argv.slice(2);
const documents = JSON.parse(require("fs").readFileSync(0, "utf8"));

require(validator).getInstance(rules).then((official) => {
  const verdicts = documents.map((document) => {
    const { status, errors } = official.validateString(document, "AMP4EMAIL");
    return { status, said: errors.map((e) => `${e.severity} ${e.line}:${e.col} ${e.code} ${e.message}`) };
  });
  process.stdout.write(JSON.stringify(verdicts));
});
