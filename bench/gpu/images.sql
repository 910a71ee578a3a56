-- Pictures that are bright on one side, and a network that tells which.
CREATE TABLE pictures AS
SELECT i AS id, CASE WHEN i % 2 = 0 THEN 'left' ELSE 'right' END AS side,
       (SELECT string_agg(set_byte('\x00', 0, CASE WHEN (k % 32 < 16) = (i % 2 = 0) THEN 180 + (i * 7 + k) % 70
                                                   ELSE (i * 13 + k * 3) % 60 END), '' ORDER BY k)
        FROM generate_series(0, 1023) k) AS image
FROM generate_series(1, 500) i;
ALTER TABLE pictures ADD PRIMARY KEY (id);
SELECT 'trained: ' || metric || ' ' || value FROM damson.train('side', 'SELECT image, side FROM pictures', 'side', 'cnn',
    preprocess => '{"image": [32, 32, 1]}', params => '{"epochs": 2, "architecture": "cnn_small"}');
