-- What there is: tables of real data, loaded a moment ago, and the extension.
\dx damson
\dt+

-- Images are rows like any other: raw bytes, 8x8 of them here.
SELECT id, digit, part, length(image) AS bytes, encode(substr(image, 1, 8), 'hex') AS first_line
FROM digits ORDER BY id LIMIT 3;
